import Pictures

/// Some of a batch's pictures after one of their scales.
public struct DrawnScale: Sendable {
  /// k, from 0.
  public let index: Int
  /// K
  public let count: Int
  /// Pictures by the place of their task in the batch: after the last scale, and after the others where
  /// previews were asked for.
  public let pictures: [Int: Picture]

  public init(index: Int, count: Int, pictures: [Int: Picture]) {
    self.index = index
    self.count = count
    self.pictures = pictures
  }

  /// Whether the pictures are finished.
  public var isLast: Bool { index == count - 1 }
}
