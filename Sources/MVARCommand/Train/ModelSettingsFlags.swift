import ArgumentParser
import MVARTraining

/// Every setting of a model's training; nil leaves the run's own, or the default.
struct ModelSettingsFlags: ParsableArguments {
  @OptionGroup(title: "What is trained") var model: ModelShapeFlags
  @OptionGroup(title: "How long, and by how much") var rates: RateFlags
  @OptionGroup(title: "How") var regularization: RegularizationFlags
  @OptionGroup(title: "How the weights begin") var initialization: InitializationFlags

  func apply(to settings: inout ModelTrainingSettings) {
    model.apply(to: &settings)
    rates.apply(to: &settings)
    regularization.apply(to: &settings)
    initialization.apply(to: &settings.initialization)
  }
}

struct ModelShapeFlags: ParsableArguments {
  @Option(help: "mvar or var. (default: mvar)")
  var architecture: ModelTrainingSettings.Architecture?

  @Option(parsing: .unconditional, help: "Blocks. (default: 16)")
  var depth: Int?

  @Option(parsing: .unconditional, help: "The width, a multiple of 64. (default: 64 x depth)")
  var width: Int?

  @Flag(inversion: .prefixedNo, help: "Unit queries and keys. (default: --normalized-attention)")
  var normalizedAttention: Bool?

  @Flag(inversion: .prefixedNo, help: "One modulation network for all blocks.")
  var sharedModulation: Bool?

  func apply(to settings: inout ModelTrainingSettings) {
    set(&settings.architecture, architecture)
    set(&settings.depth, depth)
    set(&settings.width, width)
    set(&settings.normalizedAttention, normalizedAttention)
    set(&settings.sharedModulation, sharedModulation)
  }
}

struct RateFlags: ParsableArguments {
  @Option(
    parsing: .unconditional,
    help: "Pictures a step, over all processes and micro-batches. (default: 768)")
  var batch: Int?

  @Option(
    parsing: .unconditional,
    help: "Micro-batches a step; more take less memory and more time. (default: 1)")
  var accumulation: Int?

  @Option(parsing: .unconditional, help: "Passes over the data. (default: 250)")
  var epochs: Int?

  @Option(parsing: .unconditional, help: "Steps, instead of what the epochs make.")
  var steps: Int?

  @Option(
    parsing: .unconditional,
    help: "The learning rate for 256 pictures a step; it grows with --batch. (default: 1e-4)")
  var baseRate: Double?

  @Option(
    help: "How the rate falls: lin0, lin, lin00, lin0.3 for any share, cos or exp. (default: lin0)",
    transform: RateSchedule.init(parsing:))
  var schedule: RateSchedule?

  @Option(
    parsing: .unconditional, help: "Epochs of warm-up. (default: a fiftieth of the run)")
  var warmUpEpochs: Double?

  @Option(
    parsing: .unconditional,
    help: "The share of the rate that warm-up begins with. (default: 0.005)")
  var warmUpStart: Double?

  @Option(parsing: .unconditional, help: "The share of the rate at the end. (default: 0.01)")
  var finalRate: Double?

  @Option(parsing: .unconditional, help: "Weight decay, of matrices only. (default: 0.05)")
  var weightDecay: Double?

  @Option(parsing: .unconditional, help: "Weight decay at the end. (default: the same)")
  var finalWeightDecay: Double?

  @Option(parsing: .unconditional, help: "AdamW's first beta. (default: 0.9)")
  var beta1: Double?

  @Option(parsing: .unconditional, help: "AdamW's second beta. (default: 0.95)")
  var beta2: Double?

  @Option(
    parsing: .unconditional, help: "The largest length of the gradient; 0 for any. (default: 2)")
  var clip: Double?

  func apply(to settings: inout ModelTrainingSettings) {
    set(&settings.batch, batch)
    set(&settings.accumulation, accumulation)
    set(&settings.epochs, epochs)
    set(&settings.steps, steps)
    set(&settings.baseRate, baseRate)
    set(&settings.schedule, schedule)
    set(&settings.warmUpEpochs, warmUpEpochs)
    set(&settings.warmUpStart, warmUpStart)
    set(&settings.finalRate, finalRate)
    set(&settings.weightDecay, weightDecay)
    set(&settings.finalWeightDecay, finalWeightDecay)
    set(&settings.beta1, beta1)
    set(&settings.beta2, beta2)
    set(&settings.clip, clip)
  }
}

struct RegularizationFlags: ParsableArguments {
  @Option(parsing: .unconditional, help: "The share of a target that all tokens get. (default: 0)")
  var labelSmoothing: Double?

  @Option(
    parsing: .unconditional,
    help: "The share of pictures whose class is withheld, for guidance. (default: 0.1)")
  var labelDropout: Double?

  @Option(
    parsing: .unconditional,
    help: "How often the last block's parts are left out. (default: 0.1 x depth / 24)")
  var stochasticDepth: Double?

  @Option(
    parsing: .unconditional,
    help: "The share of the run that adds scales one by one; 0 for all at once. (default: 0)")
  var progressive: Double?

  @Option(parsing: .unconditional, help: "The last scale of its first stage, from 0. (default: 4)")
  var progressiveFirst: Int?

  @Option(
    parsing: .unconditional,
    help: "Epochs in which a new scale comes in. (default: a three-hundredth of the run)")
  var progressiveEasing: Double?

  @Option(
    parsing: .unconditional,
    help: "How much of the averaged weights a step keeps; 0 for no average. (default: 0.9999)")
  var averaging: Double?

  @Option(parsing: .unconditional, help: "Of all random numbers. (default: 0)")
  var seed: UInt64?

  func apply(to settings: inout ModelTrainingSettings) {
    set(&settings.labelSmoothing, labelSmoothing)
    set(&settings.labelDropout, labelDropout)
    set(&settings.stochasticDepth, stochasticDepth)
    set(&settings.progressive, progressive)
    set(&settings.progressiveFirst, progressiveFirst)
    set(&settings.progressiveEasing, progressiveEasing)
    set(&settings.averaging, averaging)
    set(&settings.seed, seed)
  }
}

struct InitializationFlags: ParsableArguments {
  @Option(parsing: .unconditional, help: "Of matrices. (default: the root of 1 / 3 width)")
  var deviation: Double?

  @Option(parsing: .unconditional, help: "What the head is multiplied by. (default: 0.02)")
  var head: Double?

  @Option(
    parsing: .unconditional, help: "What modulating matrices are multiplied by. (default: 0.5)")
  var modulation: Double?

  @Option(parsing: .unconditional, help: "The same, for the rows of gains. (default: 1e-5)")
  var gain: Double?

  @Option(
    help: """
      Which rows give gains: reference takes the first 2 x width, as the reference does, which in \
      M-VAR leaves the third gain out; all takes all. (default: reference)
      """)
  var gainRows: InitializationSettings.GainRows?

  func apply(to settings: inout InitializationSettings) {
    set(&settings.deviation, deviation)
    set(&settings.head, head)
    set(&settings.modulation, modulation)
    set(&settings.gain, gain)
    set(&settings.gainRows, gainRows)
  }
}

private func set<Value>(_ setting: inout Value, _ flag: Value?) {
  if let flag { setting = flag }
}

private func set<Value>(_ setting: inout Value?, _ flag: Value?) {
  if let flag { setting = flag }
}

extension ModelTrainingSettings.Architecture: ExpressibleByArgument {}
extension InitializationSettings.GainRows: ExpressibleByArgument {}
