import MVAR

/// All that decides about a tokenizer's training.
///
/// The recipe is that of VAR (arXiv 2404.02905, section 3.2 and appendix) as vaex and XQGAN spell it
/// out; the defaults are for pictures of about a hundred pixels on one card.
public struct TokenizerTrainingSettings: Codable, Sendable, Hashable {
  // What is trained
  /// Pixels along a side.
  public var resolution = 128
  /// Channels of the first level; a multiple of 32.
  public var channels = 32
  /// The width of each level in units of ``channels``, from full resolution down; each level but the
  /// last halves the resolution.
  public var multipliers = [1, 2, 4, 4]
  public var residualBlocks = 2
  /// Attention at the lowest resolution.
  public var attention = true
  /// V
  public var codes = 2048
  /// Cvae
  public var codeWidth = 16
  /// φ convolutions that the scales share.
  public var phis = 4
  /// Sizes of the token maps as `1,2,3`; nil for the usual ones of the finest map.
  public var scales: String?

  // How long
  public var batch = 64
  /// Nil for as many as ``epochs`` make.
  public var steps: Int?
  public var epochs = 100

  // What counts
  public var absoluteWeight = 0.2
  public var squaredWeight = 1.0
  public var perceptualWeight = 1.0
  /// The network of the perceptual loss, as whoever began the run named it; nil for the usual one.
  public var perceptual: String?
  /// Of the adversary, times an adaptive weight; 0 for none.
  public var adversarialWeight = 0.4
  /// The share of the run after which the adversary comes in.
  public var adversaryStart = 0.2
  /// The share of the run over which its weight grows.
  public var adversaryWarmUp = 0.02
  /// Channels of the adversary's first layer.
  public var adversaryChannels = 64
  /// β: how much features are drawn to their codes, compared with codes to features.
  public var commitment = 0.25

  // How
  /// The peak learning rate.
  public var rate = 4e-4
  public var schedule = RateSchedule.cosine
  /// The share of the run in which the rate grows.
  public var warmUp = 0.02
  /// The share of the peak rate at the end.
  public var finalRate = 0.01
  public var weightDecay = 0.005
  public var beta1 = 0.5
  public var beta2 = 0.9
  /// The largest length of the gradient; 0 for any.
  public var clip = 1.0
  /// How much of the average weights a step keeps; 0 for no average.
  public var averaging = 0.999
  /// The share of pictures of which only the first scales are decoded, so that every scale makes a picture.
  public var scaleDropout = 0.1
  /// Steps between revivals of codes that no step since the last one used; 0 for none.
  public var reviveEvery = 20
  /// The share of the run in which codes are revived.
  public var reviveUntil = 0.6
  /// The share of the run, at its end, in which the decoder alone learns.
  public var decoderTail = 0.0
  /// The largest share of a picture's codes that are wrong in that time, as a model's draws will be.
  public var wrongCodes = 0.06
  public var seed: UInt64 = 0

  // Pictures
  public var recipe = PictureRecipe(side: 128)

  // From what, for who opens the data
  /// Which rows of a table to learn from; nil for all.
  public var split: String?
  /// Which rows of a table to measure on, instead of a share.
  public var heldOutSplit: String?
  /// The share of the pictures to measure on; nil in runs of versions that kept none of the three.
  public var holdOut: Double? = 0.02

  /// The precision that the run computes in; the trainer sets it. Nil in runs of versions that did not
  /// keep it.
  public internal(set) var dtype: ComputeOptions.Precision?

  public init() {}

  /// Whether two names stand for the same perceptual network, wherever its files lie.
  static func isSameNetwork(_ a: String?, _ b: String?) -> Bool {
    func isLPIPS(_ name: String?) -> Bool { name?.hasPrefix("lpips:") ?? false }
    return isLPIPS(a) == isLPIPS(b)
  }

  /// Takes over what runs of earlier versions did not keep.
  mutating func adoptUnkept(from other: TokenizerTrainingSettings) {
    dtype = dtype ?? other.dtype
    guard holdOut == nil else { return }
    (split, heldOutSplit, holdOut) = (other.split, other.heldOutSplit, other.holdOut)
  }

  /// The shape of the tokenizer.
  public var configuration: TokenizerConfiguration {
    var configuration = TokenizerConfiguration()
    configuration.channels = channels
    configuration.multipliers = multipliers
    configuration.residualBlocks = residualBlocks
    configuration.levelAttention = attention
    configuration.middleAttention = attention
    configuration.codeChannels = codeWidth
    configuration.vocabulary = codes
    configuration.phi = .partial(phis)
    return configuration
  }

  /// - Throws: ``TrainingError`` where the sizes do not fit the resolution.
  public func scaleSchedule() throws -> ScaleSchedule {
    let finest = resolution / configuration.patchSize
    let schedule =
      try scales.map { try ScaleSchedule(parsing: $0) }
      ?? ScaleSchedule(squares: Self.usualSides(finest: finest))
    guard schedule.final.height == finest, schedule.final.width == finest else {
      throw TrainingError(
        .setting,
        "scales are \(schedule), and pictures of \(resolution) pixels have \(finest) × \(finest) tokens "
          + "of \(configuration.patchSize) pixels; end the scales in \(finest)")
    }
    return schedule
  }

  /// The published sides for 16 and 32, and for others sides that grow by about two fifths.
  static func usualSides(finest: Int) -> [Int] {
    switch finest {
    case 16: return ScaleSchedule.px256.sizes.map(\.height)
    case 32: return ScaleSchedule.px512.sizes.map(\.height)
    default:
      var sides = [finest]
      while let side = sides.last, side > 1 {
        sides.append(min(side - 1, max(Int((Double(side) / 1.38).rounded()), 1)))
      }
      return sides.reversed()
    }
  }

  /// - Throws: ``TrainingError`` naming the first value that makes no sense.
  public func validate() throws {
    let widest = 1 << 16
    try checkSetting(
      (1...widest).contains(channels) && channels % 32 == 0, "channels", channels,
      "use a multiple of 32 up to \(widest)")
    try checkSetting(
      (1...8).contains(multipliers.count) && multipliers.allSatisfy { (1...1024).contains($0) },
      "multipliers", multipliers, "use 1 to 8 whole numbers from 1 to 1024")
    try checkSetting("residual-blocks", residualBlocks, atMost: 1024)
    try checkSetting((2...1 << 20).contains(codes), "codes", codes, "use 2 to \(1 << 20)")
    try checkSetting("code-width", codeWidth, atMost: widest)
    try checkSetting("phis", phis, atMost: 1024)
    let patch = configuration.patchSize
    try checkSetting(
      resolution > 0 && resolution % patch == 0, "resolution", resolution,
      "use a multiple of \(patch), the pixels of a token")
    try checkSetting(
      recipe.side == resolution, "the recipe's side", recipe.side, "use the resolution")
    try recipe.validate()
    _ = try scaleSchedule()
    try checkSetting("batch", batch, atMost: 1_000_000)
    try checkSetting("epochs", epochs, atMost: 1_000_000_000)
    try checkSetting("steps", steps ?? 1, atMost: 1_000_000_000_000)
    try checkSetting(rate > 0 && rate.isFinite, "rate", rate, "use a number above 0")
    try checkSetting(
      (1...widest).contains(adversaryChannels) && adversaryChannels % 4 == 0,
      "adversary-channels", adversaryChannels, "use a multiple of 4 up to \(widest)")
    try checkSetting(clip >= 0, "clip", clip, "use 0 or more")
    try checkSetting(reviveEvery >= 0, "revive-every", reviveEvery, "use 0 or more")
    for (name, value) in [
      ("l1", absoluteWeight), ("l2", squaredWeight), ("perceptual-weight", perceptualWeight),
      ("adversarial-weight", adversarialWeight), ("commitment", commitment),
      ("weight-decay", weightDecay),
    ] {
      try checkSetting(value >= 0 && value.isFinite, name, value, "use 0 or more")
    }
    for (name, value) in [
      ("beta1", beta1), ("beta2", beta2), ("averaging", averaging),
      ("scale-dropout", scaleDropout),
    ] {
      try checkSetting((0..<1).contains(value), name, value, "use 0 or more and less than 1")
    }
    for (name, value) in [
      ("adversary-start", adversaryStart), ("adversary-warm-up", adversaryWarmUp),
      ("decoder-tail", decoderTail), ("wrong-codes", wrongCodes),
      ("warm-up", warmUp), ("final-rate", finalRate), ("revive-until", reviveUntil),
    ] {
      try checkSetting((0...1).contains(value), name, value, "use 0 to 1")
    }
  }
}
