import Pictures

/// One image to be generated.
public struct ImageRequest: Sendable, Hashable, Codable {
  /// The class, from 0.
  public var label: Int
  /// The same checkpoint, settings, class and seed give the same picture, whatever else is in the
  /// batch.
  public var seed: UInt64
  /// How its tokens are drawn; nil for what the batch is drawn with.
  public var settings: SamplingSettings?

  public init(label: Int, seed: UInt64, settings: SamplingSettings? = nil) {
    self.label = label
    self.seed = seed
    self.settings = settings
  }
}

/// One finished scale of a batch of images.
public struct GeneratedScale: Sendable {
  /// k, from 0.
  public let index: Int
  /// K
  public let count: Int
  /// The pictures so far, one a request: after every scale where previews were asked for, and always
  /// after the last.
  public let pictures: [Picture]?

  /// Whether the pictures are finished.
  public var isLast: Bool { index == count - 1 }
}
