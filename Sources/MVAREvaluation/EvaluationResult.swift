/// The figures of a set of pictures.
public struct EvaluationResult: Sendable, Equatable {
  public let network: NetworkIdentity
  /// How many pictures were measured.
  public let count: Int
  /// How many real ones, where that is known.
  public let referenceCount: Int?
  /// What ``NetworkIdentity/metric`` calls it.
  public var frechetDistance = Double.nan
  /// sFID, where both sets have features of places.
  public var spatialFrechetDistance: Double?
  public var scores: SetStatistics.Scores?
  public var precisionRecall: PrecisionRecall?
  public var kernelDistance: KernelDistance?
  /// Of the Fréchet distance.
  public var interval: ConfidenceInterval?
  /// What makes the figures doubtful.
  public var warnings: [String]

  init(network: NetworkIdentity, generated: SetStatistics, reference: Reference) {
    self.network = network
    count = generated.count
    referenceCount = reference.pooled.count
    scores = generated.scores
    warnings = [
      generated.pooled.rankWarning("the pictures"),
      reference.pooled.rankWarning("the real pictures"),
    ].compactMap { $0 }
  }
}

extension EvaluationResult: Encodable {
  private enum CodingKeys: String, CodingKey {
    case metric, network, digest, preprocessing, pictures, sfid, precision, recall, kid, warnings
    case referencePictures = "reference_pictures"
    case frechetDistance = "frechet_distance"
    case inceptionScore = "inception_score"
    case interval = "frechet_distance_95"
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(network.metric, forKey: .metric)
    try container.encode(network.network, forKey: .network)
    try container.encode(network.digest, forKey: .digest)
    try container.encode(network.preprocessing, forKey: .preprocessing)
    try container.encode(count, forKey: .pictures)
    try container.encodeIfPresent(referenceCount, forKey: .referencePictures)
    try container.encode(frechetDistance, forKey: .frechetDistance)
    try container.encodeIfPresent(interval, forKey: .interval)
    try container.encodeIfPresent(spatialFrechetDistance, forKey: .sfid)
    try container.encodeIfPresent(scores, forKey: .inceptionScore)
    try container.encodeIfPresent(precisionRecall?.precision, forKey: .precision)
    try container.encodeIfPresent(precisionRecall?.recall, forKey: .recall)
    try container.encodeIfPresent(kernelDistance, forKey: .kid)
    try container.encode(warnings, forKey: .warnings)
  }
}
