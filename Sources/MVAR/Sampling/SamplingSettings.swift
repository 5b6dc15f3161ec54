/// How tokens are drawn. The defaults are those the paper evaluates with.
public struct SamplingSettings: Sendable, Hashable, Codable {
  /// The strength of classifier-free guidance at the last scale; it grows linearly from 0.
  public var guidance: Double
  /// How many of the likeliest tokens may be drawn; 0 for all. Ties with the last are kept.
  public var topK: Int
  /// The probability mass of the likeliest tokens that may be drawn, in (0, 1].
  public var topP: Double
  /// Mixes codes by Gumbel softmax instead of drawing one: smoother pictures, no use for metrics.
  public var smooth: Bool

  public init(guidance: Double = 1.5, topK: Int = 900, topP: Double = 0.96, smooth: Bool = false) {
    self.guidance = guidance
    self.topK = topK
    self.topP = topP
    self.smooth = smooth
  }

  /// - Throws: ``MVARError`` for values that make no sense.
  public func validate() throws(MVARError) {
    guard guidance >= 0, guidance.isFinite else {
      throw .invalidValue("guidance", "\(guidance)", mend: "use 0 or more; 1.5 is a good start")
    }
    guard topK >= 0 else {
      throw .invalidValue("top-k", "\(topK)", mend: "use 1 or more, or 0 for no limit")
    }
    guard topP > 0, topP <= 1 else {
      throw .invalidValue("top-p", "\(topP)", mend: "use a number above 0 and at most 1")
    }
  }
}
