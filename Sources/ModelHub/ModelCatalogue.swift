/// A published file that goes by a short name.
public struct KnownModel: Sendable, Hashable {
  public enum Kind: String, Sendable, Codable {
    case model
    case tokenizer
  }

  /// What a user writes, such as "m-var-d16".
  public let name: String
  public let kind: Kind
  public let file: HubFile
  /// One line about it.
  public let summary: String
  /// As the publisher names it; nil where none was found.
  public let licence: String?

  /// The tokenizer that it was trained with.
  public var tokenizer: KnownModel? {
    kind == .model ? ModelCatalogue.tokenizer : nil
  }
}

/// The models that the papers' authors published.
///
/// Sizes and digests are not kept here: the server tells them.
public enum ModelCatalogue {
  /// VAR's tokenizer, which M-VAR uses too.
  public static let tokenizer = KnownModel(
    name: "var-tokenizer", kind: .tokenizer, file: file(vision, "vae_ch160v4096z32.pth"),
    summary: "VAR's tokenizer, 4096 codes of 32 numbers", licence: "MIT")

  public static let all: [KnownModel] =
    [16, 20, 24, 32].map { depth in
      KnownModel(
        name: "m-var-d\(depth)", kind: .model, file: file(mvar, "d\(depth).pth"),
        summary: "M-VAR, \(depth == 32 ? "the largest" : "depth \(depth)"), 256 px", licence: nil)
    }
    + [16, 20, 24, 30, 36].map { depth in
      KnownModel(
        name: "var-d\(depth)", kind: .model, file: file(vision, "var_d\(depth).pth"),
        summary: "VAR, depth \(depth), \(depth == 36 ? 512 : 256) px", licence: "MIT")
    } + [tokenizer]

  public static func named(_ name: String) -> KnownModel? { all.first { $0.name == name } }

  private static let mvar = try! HubRepository(owner: "OliverRen", name: "M-VAR")
  private static let vision = try! HubRepository(owner: "FoundationVision", name: "var")

  private static func file(_ repository: HubRepository, _ path: String) -> HubFile {
    try! HubFile(repository, path)
  }
}

/// Which files of a repository are worth fetching, where only the repository was named.
public struct CheckpointChoice: Sendable, Equatable {
  /// The model, if the repository has just one.
  public let model: String?
  /// A tokenizer that lies beside it.
  public let tokenizer: String?
  /// All models, to choose from.
  public let models: [String]

  /// - Parameter paths: All files of the repository.
  public init(among paths: [String]) {
    let endings = [".pth", ".safetensors", ".safetensors.index.json"]
    // Shards are fetched with the index that lists them.
    let checkpoints = paths.filter { path in
      endings.contains(where: path.hasSuffix) && !path.contains(/-\d{5}-of-\d{5}\.safetensors$/)
    }.sorted()
    func isTokenizer(_ path: String) -> Bool {
      let name = path.split(separator: "/").last.map { $0.lowercased() } ?? ""
      return name.hasPrefix("vae") || name.hasPrefix("tokenizer")
    }
    let tokenizers = checkpoints.filter(isTokenizer)
    models = checkpoints.filter { !isTokenizer($0) }
    model = models.count == 1 ? models[0] : nil
    tokenizer = tokenizers.count == 1 ? tokenizers[0] : nil
  }
}
