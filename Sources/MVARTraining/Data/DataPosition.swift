/// Where a run stands in its data: the batch that comes next.
public struct DataPosition: Sendable, Hashable, Codable, Comparable, CustomStringConvertible {
  /// How many times all of the data has been gone through.
  public var epoch: Int
  /// Batches of this epoch that have been given out.
  public var step: Int

  public init(epoch: Int = 0, step: Int = 0) { (self.epoch, self.step) = (epoch, step) }

  public static let start = DataPosition()

  public static func < (a: DataPosition, b: DataPosition) -> Bool {
    (a.epoch, a.step) < (b.epoch, b.step)
  }

  public var description: String { "epoch \(epoch), step \(step)" }

  /// The position `batches` later, where an epoch has `steps` batches.
  func advanced(by batches: Int, steps: Int) -> DataPosition {
    let total = step + batches
    return DataPosition(epoch: epoch + total / steps, step: total % steps)
  }
}
