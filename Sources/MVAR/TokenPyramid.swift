import Torch

/// The tokens of a batch of images, scale by scale.
public struct TokenPyramid {
  public let schedule: ScaleSchedule
  /// For each scale k, `[B, n_k]` int64.
  public let scales: [Tensor]

  /// - Throws: ``MVARError`` if the tensors are not those of the schedule.
  public init(schedule: ScaleSchedule, scales: [Tensor]) throws(MVARError) {
    let batch = scales.first?.shape.first ?? 0
    guard scales.count == schedule.count,
      zip(scales, schedule.sizes).allSatisfy({ $0.shape == [batch, $1.count] })
    else {
      throw MVARError(
        .mismatch,
        "token maps of shapes \(scales.map(\.shape)) do not fit the scales \(schedule); "
          + "name the scales that the tokens were made with")
    }
    if let other = scales.first(where: { $0.dtype != .int64 }) {
      throw MVARError(.mismatch, "tokens are \(other.dtype) and should be int64")
    }
    self.schedule = schedule
    self.scales = scales
  }

  init(unchecked scales: [Tensor], schedule: ScaleSchedule) {
    self.schedule = schedule
    self.scales = scales
  }

  /// B
  public var batch: Int { scales[0].length(0) }

  /// All tokens in a row, `[B, L]`.
  public var flattened: Tensor { .concatenate(scales, axis: 1) }
}
