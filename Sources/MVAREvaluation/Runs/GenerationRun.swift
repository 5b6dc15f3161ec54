import Foundation
import MVAR
import Pictures

/// A long job that generates pictures and measures them, kept in a folder: interrupted anywhere, it goes
/// on at the next picture, with as many processes as are there then.
///
/// Every process generates its share and writes the features of each picture. The first waits for the
/// others and adds everything up in the order of the pictures, so that the result does not depend on who
/// generated what.
public final class GenerationRun {
  public let folder: String
  public let settings: GenerationSettings
  public let share: ProcessShare
  private let lengths: (pooled: Int, spatial: Int, logits: Int)
  private let features: RecordFolder
  private let pictures: RecordFolder?

  /// Opens a run, or begins one.
  ///
  /// - Parameters:
  ///   - lengths: As ``Evaluator/featureLengths``.
  ///   - pictureSize: To keep the pictures too, for a `.npz` file of them.
  /// - Throws: ``EvaluationError`` where the folder holds a run with other settings, or cannot be
  ///   written.
  public init(
    _ folder: String, settings: GenerationSettings, share: ProcessShare = .init(),
    lengths: (pooled: Int, spatial: Int, logits: Int),
    pictureSize: (width: Int, height: Int)? = nil
  ) throws {
    (self.folder, self.settings, self.share, self.lengths) = (folder, settings, share, lengths)
    do {
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    } catch {
      throw EvaluationError(
        .inputOutput, folder, "cannot be made", mend: "choose a folder that you may write to")
    }
    try Self.checkSettings(folder, settings)
    features = RecordFolder(
      folder, stem: "features", size: 4 * (lengths.pooled + lengths.spatial + lengths.logits))
    try features.scan()
    pictures = try pictureSize.map { width, height in
      let pictures = RecordFolder(folder, stem: "pictures", size: width * height * 3)
      try pictures.scan()
      return pictures
    }
    size = pictureSize ?? (0, 0)
  }

  private let size: (width: Int, height: Int)

  private static func checkSettings(_ folder: String, _ settings: GenerationSettings) throws {
    let path = "\(folder)/settings.json"
    if let data = FileManager.default.contents(atPath: path) {
      guard let old = try? JSONDecoder().decode(GenerationSettings.self, from: data) else {
        throw EvaluationError(
          .malformed, path, "cannot be read as the settings of a run",
          mend: "name another folder with --out")
      }
      let differences = settings.differences(from: old)
      guard differences.isEmpty else {
        throw EvaluationError(
          .otherRun, folder, "holds a run with \(differences.prefix(3).joined(separator: ", "))",
          mend: "name another folder with --out, or use the same settings to go on")
      }
      return
    }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    // Several processes may write the same at once.
    try writeWholeFile(Array(try encoder.encode(settings)) + [0x0A], to: path)
  }

  /// How many pictures are done, by all processes.
  public var done: Int { available.count }

  /// The pictures that this process has still to generate.
  public var missing: [Int] {
    let available = available
    return share.range(of: settings.samples).filter { !available.contains($0) }
  }

  private var available: Set<Int> {
    let all = pictures.map { features.indices.intersection($0.indices) } ?? features.indices
    return all.filter { $0 < settings.samples }
  }

  /// Keeps some pictures' features, after the pictures themselves where those are wanted.
  ///
  /// - Throws: ``EvaluationError`` where the disk is full, for example.
  public func add(_ indices: [Int], _ batch: FeatureBatch, _ made: [Picture]) throws {
    if let pictures {
      for (index, picture) in zip(indices, made) {
        try pictures.append(index, picture.pixels, rank: share.rank)
      }
    }
    func part(_ numbers: [Float], _ length: Int, _ row: Int) -> ArraySlice<Float> {
      numbers[row * length..<(row + 1) * length]
    }
    for (row, index) in indices.enumerated() {
      let numbers =
        Array(part(batch.pooled, lengths.pooled, row)) + part(batch.spatial, lengths.spatial, row)
        + part(batch.logits, lengths.logits, row)
      try features.append(index, numbers.littleEndianBytes, rank: share.rank)
    }
  }

  /// Looks for what other processes have done.
  public func refresh() throws {
    try features.scan()
    try pictures?.scan()
  }

  /// Waits until all pictures are done.
  ///
  /// - Parameter patience: Seconds without a new picture after which the others are taken for dead.
  /// - Throws: ``EvaluationError`` then.
  public func waitForAll(
    patience: Double = 1200, interval: Double = 0.5, progress: (Int) -> Void = { _ in }
  ) async throws {
    var (last, since) = (-1, ContinuousClock.now)
    while true {
      try refresh()
      let done = done
      progress(done)
      if done == settings.samples { return }
      if done != last { (last, since) = (done, ContinuousClock.now) }
      guard since.duration(to: .now) < .seconds(patience) else {
        throw EvaluationError(
          .otherRun, folder,
          "\(settings.samples - done) of \(settings.samples) pictures are missing, and for "
            + "\(Int(patience)) s no other process has added any",
          mend: "start it again: what is done is kept")
      }
      try await Task.sleep(for: .seconds(interval))
    }
  }

  /// Features in the order of the pictures, batch by batch.
  public func batches(of count: Int) -> () throws -> FeatureBatch? {
    var position = 0
    return { [self] in
      guard position < settings.samples else { return nil }
      let range = position..<min(position + count, settings.samples)
      position = range.upperBound
      var (pooled, spatial, logits): ([Float], [Float], [Float]) = ([], [], [])
      for index in range {
        let numbers = try features.read(index).floats
        pooled += numbers[..<lengths.pooled]
        spatial += numbers[lengths.pooled..<lengths.pooled + lengths.spatial]
        logits += numbers[(lengths.pooled + lengths.spatial)...]
      }
      return FeatureBatch(count: range.count, pooled: pooled, spatial: spatial, logits: logits)
    }
  }

  /// Writes the pictures as OpenAI's evaluator reads them: `arr_0` `[N, H, W, 3]` uint8 and `arr_1` `[N]`,
  /// their classes.
  ///
  /// - Throws: ``EvaluationError`` where the file cannot be written.
  public func writePictures(to path: String) throws {
    guard let pictures else { preconditionFailure("a run that keeps no pictures") }
    let total = settings.samples
    var position = 0
    let images = NumPyWriter.Item(
      "arr_0", NumPyHeader(.uint8, shape: [total, size.height, size.width, 3])
    ) { _ in
      guard position < total else { return [] }
      try Task.checkCancellation()
      defer { position += 1 }
      return try pictures.read(position)
    }
    let labels = (0..<total).map { Int64(settings.request($0).label) }
    try NumPyWriter.write([images, .init("arr_1", shape: [total], labels)], to: path)
  }

  /// Removes the features and pictures, which a finished run needs only to be measured again.
  public func removeRecords() {
    features.removeAll()
    pictures?.removeAll()
  }
}

extension [UInt8] {
  /// The bytes as float32.
  var floats: [Float] {
    withUnsafeBytes { raw in
      [Float](unsafeUninitializedCapacity: count / 4) { buffer, filled in
        UnsafeMutableRawBufferPointer(buffer).copyMemory(from: raw)
        filled = count / 4
      }
    }
  }
}
