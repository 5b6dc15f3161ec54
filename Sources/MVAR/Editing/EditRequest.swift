import Pictures

/// A picture of which a part is to be drawn anew.
///
/// The picture is tokenised. At every scale the tokens outside the mask are forced to be the picture's,
/// those inside are drawn, and the model's states see the mixture (VAR, arXiv 2404.02905, section 5.2).
public struct EditRequest: Sendable, Hashable {
  /// Of the size that the model draws; ``EditCanvas`` brings others to it.
  public var picture: Picture
  /// Of the picture's size.
  public var mask: EditMask
  /// What to draw; nil for nothing in particular, as a model does without a class.
  public var label: Int?
  /// The same checkpoint, settings, picture, mask, class and seed give the same result, whatever else
  /// is in the batch.
  public var seed: UInt64
  public var edges: MaskEdges
  /// So many of the coarsest scales are the picture's, inside the mask too: what stays alike in a
  /// variation.
  public var keptScales: Int
  /// How its tokens are drawn; nil for what the batch is drawn with.
  public var settings: SamplingSettings?

  public init(
    picture: Picture, mask: EditMask, label: Int? = nil, seed: UInt64, edges: MaskEdges = .half,
    keptScales: Int = 0, settings: SamplingSettings? = nil
  ) {
    (self.picture, self.mask, self.label, self.seed) = (picture, mask, label, seed)
    (self.edges, self.keptScales, self.settings) = (edges, keptScales, settings)
  }

  /// A variation of a whole picture.
  ///
  /// - Parameter strength: The share of the scales that are drawn, the finest ones: 0 gives the picture
  ///   as the tokenizer reconstructs it, 1 a new one.
  public static func variation(
    of picture: Picture, strength: Double, label: Int? = nil, seed: UInt64,
    schedule: ScaleSchedule
  ) throws(MVARError) -> EditRequest {
    EditRequest(
      picture: picture, mask: .everything(width: picture.width, height: picture.height),
      label: label, seed: seed, keptScales: try schedule.keptScales(strength: strength))
  }
}

extension ScaleSchedule {
  /// How many of the coarsest scales a variation of this strength keeps.
  ///
  /// - Throws: ``MVARError`` for a strength outside [0, 1].
  public func keptScales(strength: Double) throws(MVARError) -> Int {
    guard (0...1).contains(strength) else {
      throw MVARError.invalidValue(
        "strength", "\(strength)", mend: "use 0 (the picture itself) to 1 (a new one)")
    }
    return Int(((1 - strength) * Double(count)).rounded())
  }
}

/// A picture on the way from one seed to another; see ``DrawingNoise/between(_:_:position:)``.
public struct InterpolationRequest: Sendable, Hashable {
  /// The class, from 0.
  public var label: Int
  public var from: UInt64
  public var to: UInt64
  /// 0 for the first seed's picture to the bit, 1 for the second's.
  public var position: Double
  /// How its tokens are drawn; nil for what the batch is drawn with.
  public var settings: SamplingSettings?

  public init(
    label: Int, from: UInt64, to: UInt64, position: Double, settings: SamplingSettings? = nil
  ) {
    (self.label, self.from, self.to, self.position) = (label, from, to, position)
    self.settings = settings
  }

  /// `count` pictures at equal distances, both ends among them; of one picture, the first.
  public static func steps(
    _ count: Int, label: Int, from: UInt64, to: UInt64
  ) -> [InterpolationRequest] {
    (0..<count).map {
      let position = count == 1 ? 0 : Double($0) / Double(count - 1)
      return InterpolationRequest(label: label, from: from, to: to, position: position)
    }
  }
}
