/// How a mask of pixels becomes one of tokens at each scale.
///
/// The share of a token's area that the mask covers decides; tokens are larger the coarser the scale.
public enum MaskEdges: Sendable, Hashable {
  /// A token is drawn if at least this share of its area is covered (and any of it), else it is given.
  ///
  /// With 0.5, as VAR has it, a small region leaves the coarse scales to the picture; with 0, every
  /// token that the region touches is drawn. (VAR's notebook reads the mask at the tokens' centres, and
  /// always gives the first scale; here areas decide about all, so that a full mask draws everything.)
  case hard(threshold: Double)
  /// The codes of the drawn and the given token are mixed in proportion to the share, so that the
  /// region's edge is as wide as a token at every scale.
  case soft

  /// A token is drawn where at least half of it is covered.
  public static let half = MaskEdges.hard(threshold: 0.5)

  /// - Throws: ``MVARError`` for a threshold that is no share.
  public func validate() throws(MVARError) {
    if case .hard(let threshold) = self, !(0...1).contains(threshold) {
      throw MVARError.invalidValue(
        "threshold", "\(threshold)", mend: "use a share of a token's area, from 0 to 1")
    }
  }

  /// How much of the drawn token's code enters, from the share of its area.
  func drawn(_ share: Double) -> Float {
    switch self {
    case .hard(let threshold): share > 0 && share >= threshold ? 1 : 0
    case .soft: Float(share)
    }
  }
}

extension EditMask {
  /// For each scale, how much of what is drawn enters at each of its n_k tokens.
  ///
  /// - Parameter keptScales: So many of the first scales are given whole.
  func drawnShares(
    _ schedule: ScaleSchedule, edges: MaskEdges, keptScales: Int = 0
  ) -> [[Float]] {
    schedule.sizes.enumerated().map { k, size in
      k < keptScales
        ? Array(repeating: 0, count: size.count)
        : shares(rows: size.height, columns: size.width).map(edges.drawn)
    }
  }
}

extension EditMask {
  /// - Parameter size: The picture's, in pixels.
  /// - Throws: ``MVARError`` where not even a token of the finest scale would be drawn.
  func checkReach(
    _ schedule: ScaleSchedule, _ edges: MaskEdges, size: (width: Int, height: Int)
  ) throws(MVARError) {
    let finest = schedule.final
    let shares = shares(rows: finest.height, columns: finest.width)
    guard shares.allSatisfy({ edges.drawn($0) == 0 }) else { return }
    throw MVARError(
      .invalidValue,
      "the mask covers no token enough to draw it (a token has \(size.width / finest.width) × "
        + "\(size.height / finest.height) pixels); enlarge it, or lower the threshold")
  }
}
