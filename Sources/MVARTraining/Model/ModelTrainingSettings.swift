import MVAR

/// All that decides about a model's training, with the reference's defaults (`utils/arg_util.py`).
///
/// A run keeps them in its checkpoints. Those that decide about nothing but speed or about where
/// things go are in ``ModelTrainingOptions``.
public struct ModelTrainingSettings: Codable, Sendable, Hashable {
  // What is trained
  /// `mvar` or `var`.
  public var architecture = Architecture.mvar
  /// Blocks.
  public var depth = 16
  /// C; nil for 64 × depth.
  public var width: Int?
  /// Unit queries and keys.
  public var normalizedAttention = true
  /// One modulation network for all blocks.
  public var sharedModulation = false
  public var initialization = InitializationSettings()

  // How long
  /// Pictures of a step, over all processes and micro-batches.
  public var batch = 768
  /// Micro-batches a step.
  public var accumulation = 1
  public var epochs = 250
  /// Ends a run earlier or later than its epochs would.
  public var steps: Int?

  // How
  /// The learning rate for 256 pictures a step.
  public var baseRate = 1e-4
  public var schedule = RateSchedule.lin0
  /// nil for a fiftieth of the run.
  public var warmUpEpochs: Double?
  /// The share of the peak rate that the warm-up begins with.
  public var warmUpStart = 0.005
  /// The share of the peak rate at the end.
  public var finalRate = 0.01
  public var weightDecay = 0.05
  /// nil for no change.
  public var finalWeightDecay: Double?
  public var beta1 = 0.9
  public var beta2 = 0.95
  /// The largest length of the gradient; 0 for any.
  public var clip = 2.0
  public var labelSmoothing = 0.0
  /// The share of pictures whose class is withheld, for guidance.
  public var labelDropout = 0.1
  /// The share of rows for which the last block's sublayers are left out; nil for 0.1 × depth / 24.
  public var stochasticDepth: Double?
  /// The share of the run that adds scales one by one; 0 for none.
  public var progressive = 0.0
  /// The last scale of the first stage, from 0.
  public var progressiveFirst = 4
  /// Epochs over which a new scale's loss comes in; nil for a three-hundredth of the run.
  public var progressiveEasing: Double?
  /// How much of the average weights a step keeps; 0 for no average.
  public var averaging = 0.9999
  public var seed: UInt64 = 0

  // From what; nil in runs of versions that did not keep these
  /// How evenly classes are drawn, as ``CachedTokens/init(_:batch:seed:balance:)`` has it; nil for 0.
  public var balance: Double?
  /// Which rows of a table to learn from, for who opens the data; nil for all.
  public var split: String?
  /// Which rows of a table to measure on, instead of a share.
  public var heldOutSplit: String?
  /// The share of the pictures to measure on.
  public var holdOut: Double?
  /// The precision that the run computes in; the trainer sets it.
  public internal(set) var dtype: ComputeOptions.Precision?

  public enum Architecture: String, Codable, Sendable, CaseIterable {
    case mvar, `var`

    public var kind: TransformerConfiguration.Kind { self == .mvar ? .mvar : .var }
  }

  public init() {}

  /// Base rate × batch / 256.
  public var peakRate: Double { baseRate * Double(batch) / 256 }

  /// The rate of stochastic depth of the last block.
  public var lastDropRate: Double { stochasticDepth ?? 0.1 * Double(depth) / 24 }

  /// The shape of the model.
  public func configuration(
    classes: Int, schedule: ScaleSchedule, tokenizer: TokenizerConfiguration
  ) -> TransformerConfiguration {
    var configuration = TransformerConfiguration(
      kind: architecture.kind, depth: depth, schedule: schedule)
    configuration.width = width ?? configuration.width
    configuration.hidden = 4 * configuration.width
    configuration.classes = classes
    configuration.vocabulary = tokenizer.vocabulary
    configuration.codeChannels = tokenizer.codeChannels
    configuration.attentionNorm = normalizedAttention ? .l2 : .scaled
    configuration.sharedAdaLN = sharedModulation
    return configuration
  }

  /// - Throws: ``TrainingError`` naming the first value that makes no sense.
  public func validate() throws(TrainingError) {
    let head = TransformerConfiguration.headSize
    try checkSetting("depth", depth, atMost: 1024)
    try checkSetting(
      width.map { (head...1 << 16).contains($0) && $0 % head == 0 } ?? true, "width", width ?? 0,
      "use a multiple of \(head) up to \(1 << 16)")
    try checkSetting("batch", batch, atMost: 1_000_000)
    try checkSetting(
      accumulation > 0 && batch % accumulation == 0, "accumulation", accumulation,
      "use a number that divides the batch of \(batch)")
    try checkSetting("epochs", epochs, atMost: 1_000_000_000)
    try checkSetting("steps", steps ?? 1, atMost: 1_000_000_000_000)
    for (value, name) in [
      (warmUpEpochs, "warm-up-epochs"), (progressiveEasing, "progressive-easing"),
    ] {
      try checkSetting((0...1e9).contains(value ?? 0), name, value ?? 0, "use 0 to 1000000000")
    }
    try checkSetting(progressiveFirst >= 0, "progressive-first", progressiveFirst, "use 0 or more")
    try checkSetting(baseRate > 0 && baseRate.isFinite, "rate", baseRate, "use a number above 0")
    try checkSetting(
      finalRate > 0 && finalRate <= 1, "final-rate", finalRate, "use a share of the peak above 0")
    try checkSetting(weightDecay >= 0, "weight-decay", weightDecay, "use 0 or more")
    try checkSetting((0..<1).contains(beta1), "beta1", beta1, "use 0 to 1")
    try checkSetting((0..<1).contains(beta2), "beta2", beta2, "use 0 to 1")
    for (value, name) in [
      (labelSmoothing, "label-smoothing"), (labelDropout, "label-dropout"),
      (lastDropRate, "stochastic-depth"), (averaging, "averaging"),
      (warmUpStart, "warm-up-start"),
    ] {
      try checkSetting((0..<1).contains(value), name, value, "use 0 or more and less than 1")
    }
    try checkSetting((0...1).contains(progressive), "progressive", progressive, "use 0 to 1")
    try checkSetting(clip >= 0, "clip", clip, "use 0 or more")
  }
}
