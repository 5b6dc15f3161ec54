import Torch

/// All that the metrics need to know of a set of pictures.
public struct SetStatistics: Sendable, Equatable {
  public let network: NetworkIdentity
  public let count: Int
  public let pooled: GaussianStatistics
  public let spatial: GaussianStatistics?
  /// `[count, D]`, for precision, recall, KID and confidence intervals.
  public let features: [Float]?
  public let scores: Scores?

  /// The Inception score in the ways that it is quoted.
  public struct Scores: Sendable, Equatable, Codable {
    /// Over parts of 5,000 pictures: the single figure of OpenAI's evaluator and of the papers.
    public let paper: InceptionScore
    /// Over ten parts of equal size.
    public let tenParts: InceptionScore

    private enum CodingKeys: String, CodingKey {
      case paper
      case tenParts = "ten_parts"
    }
  }
}

/// Features of a batch in memory, as a run keeps them.
public struct FeatureBatch: Sendable, Equatable {
  public let count: Int
  /// `[count, D]`
  public let pooled: [Float]
  /// `[count, S]`, or nothing.
  public let spatial: [Float]
  /// `[count, K]`, or nothing.
  public let logits: [Float]
}

/// What is to be measured of a set.
public struct MeasuringPlan: Sendable {
  /// How many pictures there will be.
  public var count: Int
  /// Whether the features themselves are wanted.
  public var keepsFeatures: Bool
  /// Whether pictures that follow each other are alike, as in folders of classes, so that the parts for
  /// the Inception score must be drawn by chance.
  public var isGrouped: Bool

  public init(count: Int, keepsFeatures: Bool, isGrouped: Bool = false) {
    (self.count, self.keepsFeatures, self.isGrouped) = (count, keepsFeatures, isGrouped)
  }
}

/// Adds up what a plan wants, batch by batch, on the network's device and without waiting for it.
final class SetBuilder {
  private let network: NetworkIdentity
  private let plan: MeasuringPlan
  private let pooled: MomentAccumulator
  private let spatial: MomentAccumulator?
  private let scores: [ScoreAccumulator]
  private var features: [Tensor] = []
  /// The first picture whose features are not finite; ``none`` if all are.
  private var firstBad: Tensor
  private static let none = 1e15

  init(
    _ network: NetworkIdentity, features: Int, spatial: Int?, classes: Int?, plan: MeasuringPlan,
    device: Device
  ) {
    self.network = network
    self.plan = plan
    pooled = MomentAccumulator(dimension: features, device: device)
    self.spatial = spatial.map { MomentAccumulator(dimension: $0, device: device) }
    let parts = [ScoreParts.sized(5000, of: plan.count), .equal(10, of: plan.count)]
    scores =
      classes.map { classes in
        parts.map {
          ScoreAccumulator(
            plan.isGrouped ? $0.shuffled(seed: 2020) : $0, classes: classes, device: device)
        }
      } ?? []
    firstBad = .full([1], Self.none, dtype: .float64, device: device)
  }

  func add(_ batch: NetworkFeatures) {
    noteBad(batch)
    pooled.add(batch.pooled)
    if let spatial, let features = batch.spatial { spatial.add(features) }
    if let logits = batch.logits { for score in scores { score.add(logits) } }
    if plan.keepsFeatures { features.append(batch.pooled) }
  }

  private func noteBad(_ batch: NetworkFeatures) {
    let B = batch.pooled.length(0)
    let sums = [batch.pooled, batch.spatial, batch.logits].compactMap { $0 }
      .map { ($0 * 0).sum(1) }  // not 0 where a number is infinite or none at all
    let isGood = Tensor.stack(sums, axis: 0).sum(0).isFinite()
    let index =
      Tensor.arange(B, dtype: .float64, device: batch.pooled.device)
      + Double(pooled.count)
    let bad = isGood.choosing(index * 0 + Self.none, else: index)
    firstBad = Tensor.concatenate([firstBad, bad], axis: 0).min(0, keepingAxes: true)
  }

  /// - Parameter name: Tells which picture that was.
  func finish(_ subject: String, name: (Int) -> String) throws -> SetStatistics {
    let bad = try firstBad.item()
    guard bad == Self.none else {
      throw EvaluationError(
        .notFinite, name(Int(bad)), "its features are not finite numbers",
        mend: "check the picture and the network's weights")
    }
    let paper = try scores.first?.score()
    return SetStatistics(
      network: network, count: pooled.count, pooled: try pooled.statistics(subject),
      spatial: try spatial?.statistics(subject),
      features: plan.keepsFeatures
        ? try Tensor.concatenate(features, axis: 0).elements(as: Float.self) : nil,
      scores: try paper.map { .init(paper: $0, tenParts: try scores[1].score()) })
  }
}
