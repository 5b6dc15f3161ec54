import CheckpointFormats
import Foundation
import MVAR

/// Tokens to train a model on, made and ready: in memory or in caches on the disk.
public enum TokenSource: Sendable {
  case file(training: TokenFile, heldOut: TokenFile?)
  case caches(training: TokenCache, heldOut: TokenCache?)

  /// Reads a file of tokens and labels.
  ///
  /// - Parameter share: Of the pictures, to measure on.
  public static func file(_ path: String, holdingOut share: Double, vocabulary: Int) throws -> Self
  {
    let file = try TokenFile(contentsOf: path)
    try file.check(vocabulary: vocabulary, path)
    let (training, heldOut) = file.holdingOut(share)
    return .file(training: training, heldOut: heldOut)
  }

  /// Opens finished caches: a folder with `training` and, maybe, `held-out`, or one cache.
  public static func caches(_ path: String, vocabulary: Int) throws -> Self {
    let isPair = FileManager.default.fileExists(atPath: "\(path)/training/cache.json")
    let hasHeldOut = FileManager.default.fileExists(atPath: "\(path)/held-out/cache.json")
    let training = try TokenCache(isPair ? "\(path)/training" : path)
    guard training.description.vocabulary == vocabulary else {
      throw TrainingError(
        .data,
        "\(path) was made by a tokenizer of \(training.description.vocabulary) codes, and "
          + "this one has \(vocabulary); name the tokenizer that made it")
    }
    return .caches(
      training: training,
      heldOut: isPair && hasHeldOut ? try TokenCache("\(path)/held-out") : nil)
  }

  /// Whether nothing more is to come beside what is there: where pictures are held out, their cache is
  /// made last. Caches of versions that did not say how many there are count as whole with one only.
  public var isWhole: Bool {
    guard case .caches(let training, nil) = self else { return true }
    return training.description.heldOut == 0
  }

  /// Whether a path holds caches, finished or not.
  public static func holdsCaches(_ path: String) -> Bool {
    ["\(path)/cache.json", "\(path)/training/cache.json"]
      .contains { FileManager.default.fileExists(atPath: $0) }
  }

  /// Batches for a run, from the beginning.
  public func data(_ settings: ModelTrainingSettings) throws -> TrainingData {
    switch self {
    case .file(let training, let heldOut):
      let classes =
        training.classNames?.count
        ?? (training.labels + (heldOut?.labels ?? [])).max().map { $0 + 1 }
      return TrainingData(
        try TokensInMemory(
          training.tokens, labels: training.labels, versions: training.versions, classes: classes,
          batch: settings.batch, seed: settings.seed),
        validation: heldOut?.batches(of: settings.batch) ?? [], classNames: training.classNames)
    case .caches(let training, let heldOut):
      return TrainingData(
        try CachedTokens(
          training, batch: settings.batch, seed: settings.seed, balance: settings.balance ?? 0),
        validation: try heldOut?.batches(of: settings.batch) ?? [],
        classNames: training.classNames.isEmpty ? nil : training.classNames)
    }
  }
}

extension TokenCache {
  /// All pictures in their first version, in batches, the last one maybe smaller.
  func batches(of size: Int) throws -> [TokenBatch] {
    try stride(from: 0, to: count, by: size).map { start in
      let pictures = Array(start..<min(start + size, count))
      return TokenBatch(
        tokens: try tokens(pictures, versions: pictures.map { _ in 0 }),
        labels: pictures.map { labels[$0] })
    }
  }
}

/// Turns pictures into the tokens that a model trains on, once.
public struct TokenPreparation: Sendable {
  /// The tokenizer's checkpoint.
  public var tokenizer: String
  /// Where the caches are kept.
  public var path: String
  public var schedule: ScaleSchedule
  /// How pictures become squares; its side is set to the scales'.
  public var recipe: PictureRecipe
  /// How many times each picture is augmented and tokenised.
  public var versions = 4
  /// The largest share of wrong codes in what a model reads of a picture.
  public var wrongCodes = 0.0
  public var seed: UInt64 = 0
  public var toleratedShare = 0.01
  public var compute = ComputeOptions()

  public init(
    tokenizer: String, path: String, schedule: ScaleSchedule, recipe: PictureRecipe
  ) {
    (self.tokenizer, self.path) = (tokenizer, path)
    (self.schedule, self.recipe) = (schedule, recipe)
  }

  /// Makes what is missing, and opens it.
  ///
  /// - Parameter progress: Called with what is done and with all there is, in pictures.
  /// - Returns: The tokens, and the pictures that could not be read.
  /// - Throws: ``TrainingError``, or `CancellationError`; what was made by then stays, and is gone on
  ///   with.
  public func run(
    training: PictureDataSet, heldOut: PictureDataSet?,
    progress: @escaping @Sendable (Int, Int) -> Void
  ) async throws -> (source: TokenSource, unreadable: [ReadingReport.Unreadable]) {
    var exact = compute
    exact.precision = .float32
    let maker = try await PictureTokenizer(tokenizer, options: exact)
    let held = heldOut?.count ?? 0
    let all = training.count * versions + held
    var unreadable = try await writer(training, "training", versions, apart: held, maker).run {
      progress($0.done, all)
    }
    if let heldOut {
      let apart = training.count
      unreadable += try await writer(heldOut, "held-out", 1, apart: apart, maker).run {
        progress(all - held + $0.done, all)
      }
    }
    return (
      try .caches(path, vocabulary: maker.configuration.vocabulary), unreadable
    )
  }

  private func writer(
    _ pictures: PictureDataSet, _ name: String, _ versions: Int, apart: Int,
    _ maker: PictureTokenizer
  ) throws -> TokenCacheWriter {
    let size = maker.pictureSize(schedule)
    guard size.width == size.height else {
      throw TrainingError(
        .setting,
        "the scales \(schedule) are not square; pictures are cut to squares, so name "
          + "scales that end in one")
    }
    var recipe = recipe
    recipe.side = size.width
    var settings = TokenCacheWriter.Settings(
      recipe: name == "training" ? recipe : recipe.withoutChance, schedule: schedule)
    (settings.versions, settings.seed) = (versions, seed)
    settings.wrongCodes = name == "training" ? wrongCodes : 0
    (settings.toleratedShare, settings.apart) = (toleratedShare, apart)
    settings.heldOut = name == "training" ? apart : nil
    return try TokenCacheWriter(
      pictures, settings, tokenizer: maker, tokenizerFile: tokenizer, to: "\(path)/\(name)")
  }
}

/// The tokenizer that a path means: a checkpoint, or the folder of a run.
public enum TokenizerPath {
  /// - Throws: ``TrainingError`` for a run that is not finished.
  public static func checkpoint(_ path: String) throws(TrainingError) -> String {
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder), isFolder.boolValue
    else { return path }
    let file = path + "/tokenizer.safetensors"
    guard FileManager.default.fileExists(atPath: file) else {
      let saved = RunFolder.saved(in: path).last
      throw TrainingError(
        .file,
        "\(path) has no tokenizer.safetensors; "
          + (saved.map { "its run is not over: finish it, or name \($0.path)/average.safetensors" }
            ?? "name the folder of a finished `mvar train tokenizer`, or a file"))
    }
    return file
  }

  /// The scales that a tokenizer was trained with, where its file tells.
  public static func schedule(_ file: String) -> ScaleSchedule? {
    let note = (try? SafetensorsFile(file))?.metadata["scales"]
    return note.flatMap { try? ScaleSchedule(parsing: $0) }
  }
}
