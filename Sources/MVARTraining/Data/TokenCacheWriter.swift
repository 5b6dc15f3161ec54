import CheckpointFormats
import Foundation
import MVAR
import Pictures

/// Turns all pictures of a data set into tokens, once, so that a model's training need not.
///
/// Stopped at any moment it leaves whole parts only; called again with the same settings it goes on
/// with the first part that is missing.
public struct TokenCacheWriter: Sendable {
  public struct Settings: Sendable {
    public var recipe: PictureRecipe
    public var schedule: ScaleSchedule
    /// How many times each picture is augmented and tokenised.
    public var versions = 1
    /// The largest share of wrong codes in what a model reads of a picture, as its own draws will be: in seven of ten
    /// versions any share up to this one.
    public var wrongCodes = 0.0
    public var seed: UInt64 = 0
    /// Pictures tokenised at a time.
    public var batch = 32
    /// Pictures a part: what is lost at most when it is stopped.
    public var partSize = 4096
    /// The share of the data set that may be unreadable.
    public var toleratedShare = 0.01
    /// Pictures that were set apart from these, which the share is of as well.
    public var apart = 0
    /// How many of those the cache beside this one will have, for those who wait for it; nil to say
    /// nothing of it.
    public var heldOut: Int?

    public init(recipe: PictureRecipe, schedule: ScaleSchedule) {
      (self.recipe, self.schedule) = (recipe, schedule)
    }
  }

  /// How far the work is.
  public struct Progress: Sendable {
    /// Pictures times versions.
    public let done: Int
    public let total: Int
  }

  private let dataSet: PictureDataSet
  private let settings: Settings
  private let tokenizer: PictureTokenizer
  private let path: String
  private let description: TokenCacheDescription
  private let maker: PictureMaker

  /// Checks that all fits, before anything is made.
  ///
  /// - Parameter tokenizerFile: Where `tokenizer` was loaded from, for its digest.
  /// - Throws: ``TrainingError`` for settings that make no sense, or a cache of other settings at
  ///   `path`, saying which differ.
  public init(
    _ dataSet: PictureDataSet, _ settings: Settings, tokenizer: PictureTokenizer,
    tokenizerFile: String, to path: String
  ) throws {
    try settings.recipe.validate()
    guard (0...1).contains(settings.wrongCodes) else {
      throw TrainingError(
        .setting, "a share of \(settings.wrongCodes) wrong codes; use 0 to 1")
    }
    guard settings.versions > 0, settings.batch > 0, settings.partSize > 0 else {
      throw TrainingError(
        .setting,
        "\(settings.versions) versions in batches of \(settings.batch); use 1 or more of each")
    }
    let size = tokenizer.pictureSize(settings.schedule)
    guard size.width == settings.recipe.side, size.height == settings.recipe.side else {
      throw TrainingError(
        .setting,
        "pictures of \(settings.recipe.side) pixels do not fit the scales \(settings.schedule), which "
          + "make \(size.width) × \(size.height); name the scales of the tokenizer")
    }
    description = TokenCacheDescription(
      data: dataSet.path, pictures: dataSet.count, contents: dataSet.contentDigest,
      classNames: dataSet.classNames, scales: settings.schedule.description,
      vocabulary: tokenizer.configuration.vocabulary,
      tokenizer: try Checkpoint.digest(tokenizerFile), recipe: settings.recipe, seed: settings.seed,
      versions: settings.versions,
      wrongCodes: settings.wrongCodes > 0 ? settings.wrongCodes : nil,
      partSize: settings.partSize, heldOut: settings.heldOut)
    if FileManager.default.fileExists(atPath: "\(path)/cache.json") {
      let differences = description.differences(from: try TokenCache.description(in: path))
      if !differences.isEmpty {
        throw TrainingError(
          .resume,
          "\(path) holds a cache of other settings: \(differences.joined(separator: ", ")); "
            + "name another folder or remove it")
      }
    }
    self.dataSet = dataSet
    self.settings = settings
    self.tokenizer = tokenizer
    self.path = path
    maker = try PictureMaker(dataSet, settings.recipe)
  }

  /// Makes what is missing.
  ///
  /// - Parameter progress: Called after each batch.
  /// - Returns: Pictures that could not be read, each once; they are left out.
  /// - Throws: ``TrainingError`` where too many could not be read or a file not be written;
  ///   `CancellationError` where the task is cancelled.
  public func run(progress: @Sendable (Progress) -> Void = { _ in }) async throws
    -> [ReadingReport.Unreadable]
  {
    do {
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    } catch {
      throw TrainingError(
        .file, "\(path) cannot be made (\(error.localizedDescription)); choose another folder")
    }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    try writeWholeFile(Array(encoder.encode(description)), to: "\(path)/cache.json")

    var unreadable: [Int: ReadingReport.Unreadable] = [:]
    for part in 0..<description.parts {
      let (version, pictures) = description.content(ofPart: part)
      let before = version * dataSet.count + pictures.lowerBound
      let file = "\(path)/\(TokenCacheDescription.partName(part))"
      if !FileManager.default.fileExists(atPath: file) {
        try await make(file, version: version, pictures: pictures, &unreadable) { done in
          progress(Progress(done: before + done, total: dataSet.count * settings.versions))
        }
      }
      progress(
        Progress(done: before + pictures.count, total: dataSet.count * settings.versions))
    }
    return unreadable.sorted { $0.key < $1.key }.map(\.value)
  }

  private func make(
    _ file: String, version: Int, pictures: Range<Int>,
    _ unreadable: inout [Int: ReadingReport.Unreadable], done: (Int) -> Void
  ) async throws {
    var (tokens, standing): ([PictureTokens], [PictureTokens]) = ([], [])
    var found: [Int] = []
    let starts = stride(from: pictures.lowerBound, to: pictures.upperBound, by: settings.batch)
    let ranges = starts.map { $0..<min($0 + settings.batch, pictures.upperBound) }
    // The next batch is decoded while this one is tokenised.
    var ahead = ranges.first.map { range in Task { await squares(range, version: version) } }
    defer { ahead?.cancel() }
    for (index, range) in ranges.enumerated() {
      try Task.checkCancellation()
      guard let squares = await ahead?.value else { break }
      ahead =
        index + 1 < ranges.count
        ? Task { await self.squares(ranges[index + 1], version: version) } : nil
      var readable: [Picture] = []
      for (picture, square) in zip(range, squares) {
        switch square {
        case .success(let square):
          readable.append(square)
          found.append(picture)
        case .failure(let error):
          try note(picture, error, &unreadable)
        }
      }
      if !readable.isEmpty {
        let places = Array(found.suffix(readable.count))
        let made = try await self.tokens(of: readable, places, version: version)
        tokens.append(made.right)
        standing += made.standing.map { [$0] } ?? []
      }
      done(range.upperBound - pictures.lowerBound)
    }
    try write(tokens, standing, found, to: file)
  }

  private func tokens(of pictures: [Picture], _ places: [Int], version: Int) async throws -> (
    right: PictureTokens, standing: PictureTokens?
  ) {
    guard settings.wrongCodes > 0 else {
      return (try await tokenizer.tokens(of: pictures, schedule: settings.schedule), nil)
    }
    let (right, standing) = try await tokenizer.tokens(
      of: pictures, schedule: settings.schedule, replacing: wrongTokens(places, version: version))
    return (right, standing)
  }

  /// Which tokens of the pictures at some places are wrong, scale by scale.
  private func wrongTokens(_ places: [Int], version: Int) -> [WrongTokens] {
    var scales = settings.schedule.sizes.map { _ in WrongTokens() }
    for place in places {
      var draws = Draws(seed: settings.seed, .wrong, epoch: version, place: place)
      let isSpoilt = draws.uniform() < 0.7
      let share = isSpoilt ? settings.wrongCodes * draws.uniform() : 0
      for (k, size) in settings.schedule.sizes.enumerated() {
        scales[k].append(size.count, share: share, description.vocabulary, &draws)
      }
    }
    return scales
  }

  /// Decodes some pictures at once.
  private func squares(_ range: Range<Int>, version: Int) async -> [Result<Picture, any Error>] {
    await withTaskGroup(of: (Int, Result<Picture, any Error>).self) { group in
      for index in range {
        group.addTask {
          var draws = Draws(
            seed: settings.seed, .augmentation, epoch: version, place: index)
          return (index, Result { try maker.square(index, &draws).square })
        }
      }
      var results: [Int: Result<Picture, any Error>] = [:]
      for await (index, result) in group { results[index] = result }
      return range.map { results[$0]! }
    }
  }

  /// Notes a picture that cannot be read.
  ///
  /// - Throws: ``TrainingError`` where they are too many, or the error is not the picture's fault.
  private func note(
    _ index: Int, _ error: any Error, _ unreadable: inout [Int: ReadingReport.Unreadable]
  ) throws {
    let reason = try PictureMaker.fault(error)
    unreadable[index] = .init(name: dataSet.entries[index].location.name, reason: reason)
    try dataSet.tolerate(
      unreadable.count, share: settings.toleratedShare, apart: settings.apart, such: reason)
  }

  private func write(
    _ tokens: [PictureTokens], _ standing: [PictureTokens], _ pictures: [Int], to file: String
  ) throws {
    let isNarrow = description.vocabulary <= Int(Int16.max) + 1
    // A part of which no picture could be read has both kinds as well, of no rows.
    let kinds = [("tokens", tokens), ("standing", standing)]
      .prefix(settings.wrongCodes > 0 ? 2 : 1)
    var declarations: [TensorDeclaration] = []
    var values: [String: (tokens: [PictureTokens], scale: Int)] = [:]
    for (kind, tokens) in kinds {
      for (scale, size) in settings.schedule.sizes.enumerated() {
        values["\(kind).\(scale)"] = (tokens, scale)
        declarations.append(
          .init(
            name: "\(kind).\(scale)", elementType: isNarrow ? .int16 : .int32,
            shape: [pictures.count, size.count]))
      }
    }
    declarations.append(.init(name: "labels", elementType: .int32, shape: [pictures.count]))
    declarations.append(.init(name: "pictures", elementType: .int64, shape: [pictures.count]))
    try SafetensorsWriter.write(file, tensors: declarations) { tensor, put in
      switch tensor.name {
      case "labels":
        try pictures.map { Int32(dataSet.entries[$0].label) }.withUnsafeBytes(put)
      case "pictures":
        try pictures.map(Int64.init).withUnsafeBytes(put)
      default:
        let (tokens, scale) = values[tensor.name]!
        let values = tokens.flatMap { $0.scales[scale] }
        if isNarrow {
          try values.map(Int16.init).withUnsafeBytes(put)
        } else {
          try values.map(Int32.init).withUnsafeBytes(put)
        }
      }
    }
  }
}

extension PictureDataSet {
  /// Lets some pictures be unreadable.
  ///
  /// - Parameters:
  ///   - share: Of these pictures and of those that were set apart from them.
  ///   - reason: What is wrong with one of them.
  /// - Throws: ``TrainingError`` where they are more than the share.
  func tolerate(_ unreadable: Int, share: Double, apart: Int, such reason: String)
    throws(TrainingError)
  {
    guard Double(unreadable) > share * Double(count + apart) else { return }
    let whole = apart > 0 ? " of all \(count + apart)" : ""
    throw .data(
      path,
      "\(unreadable) of \(count) pictures cannot be read, more than the share of \(share)\(whole) "
        + "that is tolerated, such as: \(reason)",
      mend: "mend or remove them, or raise the share")
  }
}

extension TrainingError {
  static func allUnreadable(_ dataSet: PictureDataSet, such reason: String) -> TrainingError {
    .data(
      dataSet.path, "none of its \(dataSet.count) pictures can be read, such as: \(reason)",
      mend: "name pictures that can be")
  }
}

extension WrongTokens {
  /// Of `count` more places some share changes, each to any of the codes.
  mutating func append(_ count: Int, share: Double, _ codes: Int, _ draws: inout Draws) {
    for _ in 0..<count {
      isWrong.append(draws.uniform() < share)
      tokens.append(Int64(draws.below(codes)))
    }
  }
}
