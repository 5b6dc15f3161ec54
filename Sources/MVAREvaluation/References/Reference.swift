import Foundation

/// What generated pictures are compared with.
public struct Reference: Sendable, Equatable {
  public let pooled: GaussianStatistics
  public let spatial: GaussianStatistics?
  /// `[N, D]`; nil where the file has statistics only.
  public let features: [Float]?

  public init(_ statistics: SetStatistics) {
    (pooled, spatial, features) = (statistics.pooled, statistics.spatial, statistics.features)
  }

  init(pooled: GaussianStatistics, spatial: GaussianStatistics?, features: [Float]?) {
    (self.pooled, self.spatial, self.features) = (pooled, spatial, features)
  }
}

extension Evaluator {
  /// How a reference is read.
  public struct ReferenceOptions: Sendable {
    /// Whether the features are wanted, and not statistics alone.
    public var needsFeatures = true
    /// How the pictures of a folder become one size.
    public var fitting: PictureFolder.Fitting?
    /// Where measured references are kept; nil to keep none.
    public var cache: ReferenceCache? = .standard

    public init() {}
  }

  /// Reads a reference: a folder of pictures, or a `.npz` file of pictures, of features `[N, D]`, or of
  /// statistics (mu, sigma, and for sFID mu_s, sigma_s).
  ///
  /// As in OpenAI's evaluator, statistics in a file go before its pictures, and its pictures give the
  /// features for precision and recall.
  ///
  /// - Parameter progress: Told how many pictures are measured, of how many.
  /// - Throws: ``EvaluationError`` for a file of another kind or of another network, and what
  ///   ``measure(_:keepsFeatures:progress:)`` throws.
  public func reference(
    _ path: String, _ options: ReferenceOptions = .init(),
    progress: @Sendable (Int, Int) -> Void = { _, _ in }
  ) async throws -> Reference {
    var isFolder: ObjCBool = false
    if FileManager.default.fileExists(atPath: path, isDirectory: &isFolder), isFolder.boolValue {
      let folder = try PictureFolder(path, fitting: options.fitting)
      return Reference(try await measured(folder, options, progress))
    }
    let stored = try StoredReference(path, featureCount: featureLengths.pooled)
    let wantsPictures = stored.pooled == nil || options.needsFeatures && stored.features == nil
    let measured =
      wantsPictures && stored.hasPictures
      ? try await measured(NumPyPictures(path), options, progress) : nil
    guard let pooled = try stored.pooled ?? measured?.pooled ?? stored.statisticsOfFeatures(self)
    else {
      throw EvaluationError(
        .wrongKind, path, "holds \(stored.summary), and no reference",
        mend: "name pictures [N, H, W, 3] uint8, features [N, D], or mu and sigma")
    }
    return Reference(
      pooled: pooled, spatial: stored.pooled == nil ? measured?.spatial : stored.spatial,
      features: measured?.features ?? stored.features)
  }

  private func measured(
    _ source: any PictureSource, _ options: ReferenceOptions,
    _ progress: @Sendable (Int, Int) -> Void
  ) async throws -> SetStatistics {
    let key = ReferenceCache.Key(network, usesTF32: usesTF32, pictures: source.fingerprint)
    if let found = options.cache?.read(key, network) { return found }
    let total = source.count
    let statistics = try await measure(source, keepsFeatures: true) { progress($0, total) }
    // A full disk must not cost the result.
    try? options.cache?.write(statistics, key)
    return statistics
  }
}

/// What a `.npz` file tells by itself.
private struct StoredReference {
  let pooled: GaussianStatistics?
  let spatial: GaussianStatistics?
  let features: [Float]?
  let hasPictures: Bool
  let summary: String
  private let path: String
  private let featureCount: Int

  init(_ path: String, featureCount: Int) throws {
    let archive = try NumPyArchive(path)
    let contents = NumPyContents(archive)
    func statistics(
      _ pair: (mean: NumPyArchive.Entry, covariance: NumPyArchive.Entry)?, limit: Int
    ) throws -> GaussianStatistics? {
      guard let pair else { return nil }
      guard pair.mean.header.shape[0] == limit else {
        throw EvaluationError(
          .wrongKind, path,
          "\(pair.mean.name) has \(pair.mean.header.shape[0]) numbers where this network's features "
            + "have \(limit)", mend: "name a reference made with the same network")
      }
      return try GaussianStatistics(
        count: nil, mean: archive.doubles(pair.mean), covariance: archive.doubles(pair.covariance),
        of: path)
    }
    pooled = try statistics(contents.pooled, limit: featureCount)
    spatial = try contents.spatial.map { try statistics($0, limit: $0.mean.header.shape[0])! }
    if let entry = contents.features {
      guard entry.header.shape[1] == featureCount else {
        throw EvaluationError(
          .wrongKind, path,
          "\(entry.name) has features of \(entry.header.shape[1]) numbers where this network's have "
            + "\(featureCount)", mend: "name a reference made with the same network")
      }
      features = try archive.floats(entry)
    } else {
      features = nil
    }
    hasPictures = contents.pictures != nil
    summary = archive.summary
    self.path = path
    self.featureCount = featureCount
  }

  /// Of features that the file holds.
  func statisticsOfFeatures(_ evaluator: isolated Evaluator) throws -> GaussianStatistics? {
    try features.map { try evaluator.statistics(ofFeatures: $0, length: featureCount, of: path) }
  }
}

extension Evaluator {
  func statistics(
    ofFeatures features: [Float], length: Int, of subject: String
  ) throws -> GaussianStatistics {
    guard features.areFinite else {
      throw EvaluationError(
        .notFinite, subject, "its features hold numbers that are not finite",
        mend: "make them again from pictures")
    }
    return try computing {
      let moments = MomentAccumulator(dimension: length, device: device)
      let rows = 4096 * length
      for start in stride(from: 0, to: features.count, by: rows) {
        let part = Array(features[start..<min(start + rows, features.count)])
        moments.add(.of(part, shape: [part.count / length, length], device: device))
      }
      return try moments.statistics(subject)
    }
  }

  /// The statistics of a `.npz` of features, `[N, D]`, as if they were a set of pictures'.
  ///
  /// - Throws: ``EvaluationError`` where the file holds none of this network's length.
  public func measure(featuresIn path: String) throws -> SetStatistics {
    let stored = try StoredReference(path, featureCount: featureLengths.pooled)
    guard let features = stored.features else {
      throw EvaluationError(
        .wrongKind, path, "holds no features, but \(stored.summary)",
        mend: "name a file with features [N, D]")
    }
    let pooled = try statistics(
      ofFeatures: features, length: featureLengths.pooled, of: path)
    return SetStatistics(
      network: network, count: features.count / featureLengths.pooled, pooled: pooled, spatial: nil,
      features: features, scores: nil)
  }
}

extension SetStatistics {
  /// Writes mu and sigma (and mu_s and sigma_s) as OpenAI's evaluator and pytorch-fid read them, with
  /// the features as `features`, so that they can be named as a reference.
  ///
  /// - Throws: ``EvaluationError`` where the file cannot be written.
  public func write(to path: String) throws {
    func items(_ s: GaussianStatistics, _ suffix: String) -> [NumPyWriter.Item] {
      let D = s.dimension
      return [
        .init("mu\(suffix)", shape: [D], s.mean),
        .init("sigma\(suffix)", shape: [D, D], s.covariance),
      ]
    }
    var all = items(pooled, "") + (spatial.map { items($0, "_s") } ?? [])
    if let features {
      all.append(.init("features", shape: [count, pooled.dimension], features))
    }
    try NumPyWriter.write(all, to: path)
  }
}
