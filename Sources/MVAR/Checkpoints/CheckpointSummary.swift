import CheckpointFormats
import Foundation
import Torch

/// What a checkpoint holds, as `mvar info` tells it.
public struct CheckpointSummary: Sendable, Codable, Equatable {
  /// One model of a checkpoint.
  public struct Part: Sendable, Codable, Equatable {
    /// "M-VAR", "VAR" or "tokenizer".
    public var kind: String
    /// The dictionary in the file that holds it; empty at the top.
    public var place: String
    /// Numbers that training learns.
    public var parameters: Int
    /// The types of the elements, most frequent first.
    public var dtypes: [String]
    public var depth: Int?
    public var width: Int?
    public var heads: Int?
    public var classes: Int?
    public var vocabulary: Int?
    public var codeChannels: Int?
    /// Sides of the token maps, such as "1,2,3".
    public var scales: String?
    /// Pixels, such as "256 × 256".
    public var resolution: String?
    /// How attention is normalised: "l2" or "scaled".
    public var attentionNorm: String?
    public var sharedAdaLN: Bool?
    /// A tokenizer's first width and the multiples of its levels.
    public var channels: Int?
    public var multipliers: [Int]?
    /// How φ is shared: "none", "full" or "partial", and how many there are.
    public var phi: String?
  }

  public var file: String
  public var bytes: Int
  public var tensors: Int
  public var parts: [Part]

  /// Buffers that code computes or that only training reads.
  private static let buffers: Set<String> = [
    "lvl_1L", "attn_bias_for_masking", "zero_k_bias", "patch_nums", "ema_vocab_hit_SV",
  ]

  /// - Throws: ``MVARError`` where a part's tensors make no sense.
  public init(_ checkpoint: Checkpoint) throws {
    try LibTorch.load()
    file = checkpoint.file
    tensors = checkpoint.tensors.count
    let files = Set(checkpoint.tensors.map(\.storage.file))
    bytes = files.reduce(0) { sum, file in
      // The file itself, where its name is a link, as in a cache of models.
      let path = URL(filePath: file).resolvingSymlinksInPath().path
      return sum + ((try? FileManager.default.attributesOfItem(atPath: path)[.size] as? Int) ?? 0)
    }
    parts = try Checkpoint.Role.allCases.filter { checkpoint.parts[$0] != nil }
      .map { try Self.part($0, checkpoint) }
  }

  private static func part(_ role: Checkpoint.Role, _ checkpoint: Checkpoint) throws -> Part {
    let (place, tensors) = checkpoint.parts[role]!
    let learnt = tensors.filter { tensor in
      !buffers.contains(tensor.name.split(separator: ".").last.map(String.init) ?? "")
    }
    let sizes = Dictionary(grouping: learnt, by: { DType($0.elementType).description })
      .mapValues { $0.reduce(0) { $0 + $1.elementCount } }
    var part = Part(
      kind: role.rawValue, place: place, parameters: sizes.values.reduce(0, +),
      dtypes: sizes.sorted { $0.value > $1.value }.map(\.key))
    switch role {
    case .transformer: part.describe(try checkpoint.transformerConfiguration())
    case .tokenizer: part.describe(try checkpoint.tokenizerConfiguration())
    }
    return part
  }
}

extension CheckpointSummary.Part {
  fileprivate mutating func describe(_ c: TransformerConfiguration) {
    kind = c.kind.rawValue
    (depth, width, heads) = (c.depth, c.width, c.heads)
    // A damaged file may not even have the row that stands for none of them.
    classes = max(c.classes, 0)
    (vocabulary, codeChannels) = (c.vocabulary, c.codeChannels)
    scales = c.schedule.description
    // All published tokenizers have patches of 16 pixels; the model's own file does not tell.
    resolution = "\(c.schedule.final.width * 16) × \(c.schedule.final.height * 16)"
    attentionNorm = c.attentionNorm == .l2 ? "l2" : "scaled"
    sharedAdaLN = c.sharedAdaLN
  }

  fileprivate mutating func describe(_ c: TokenizerConfiguration) {
    (vocabulary, codeChannels) = (c.vocabulary, c.codeChannels)
    (channels, multipliers) = (c.channels, c.multipliers)
    phi =
      switch c.phi {
      case .full: "full"
      case .partial(let count): "partial (\(count))"
      case .none(let count): "none (\(count))"
      }
  }
}
