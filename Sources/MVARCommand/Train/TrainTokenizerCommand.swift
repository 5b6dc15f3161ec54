import ArgumentParser
import MVAR
import MVARTraining
import Torch

struct TrainTokenizerCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tokenizer",
    abstract: "Trains a tokenizer: a multi-scale VQ-VAE.",
    discussion: """
      Learns from every picture of a folder, wherever it lies in it; of a table (.csv) or tar files; \
      classes do not matter, but for --unflipped.

        mvar train tokenizer --data photos/ --out runs/tok
        mvar train tokenizer --data emoji/ --split train --held-out-split test --framing whole \\
          --pastel 0.25 --hue 30 --resolution 96 --out runs/emoji-tok
        mvar train tokenizer --data photos/ --out runs/tok --resume

      The folder of the run holds checkpoints, log.jsonl (see `mvar plot`), event files for \
      TensorBoard, reconstructions/, and in the end tokenizer.safetensors, which every other command \
      reads. Ctrl-C saves first; --resume goes on, to the same weights as without the pause. A run \
      that goes on keeps its settings.

      The perceptual loss compares features of EfficientNet-Lite0, which `make networks` fetches; \
      --perceptual none does without. For LPIPS with VGG16, as VQGAN and VAR train, fetch \
      torchvision's vgg16-397923af.pth and weights/v0.1/vgg.pth of the PyPI package lpips, and name \
      both, or one file that has all the weights:

        mvar train tokenizer --data photos/ --out runs/tok \\
          --perceptual lpips:vgg16-397923af.pth,vgg.pth
      """)

  @OptionGroup var data: PictureDataFlags
  @OptionGroup var preparation: PreparationFlags

  @Option(help: "The folder of the run.")
  var out: String

  @Flag(help: "Go on with the run in --out.")
  var resume = false

  @OptionGroup(title: "The tokenizer's shape") var shape: TokenizerShapeFlags
  @OptionGroup(title: "The training") var training: TokenizerTrainingFlags
  @OptionGroup(title: "The run") var pace: TokenizerPaceFlags
  @OptionGroup var compute: TokenizerTrainingComputeFlags

  func validate() throws {
    guard !resume else { return }
    do {
      var settings = TokenizerTrainingSettings()
      try apply(&settings)
      try settings.validate()
    } catch {
      throw ValidationError("\(error)")
    }
  }

  private func apply(_ settings: inout TokenizerTrainingSettings) throws {
    shape.apply(&settings)
    training.apply(&settings)
    settings.recipe.side = settings.resolution
    try preparation.apply(&settings.recipe)
    data.apply(to: &settings)
  }

  func run() async throws {
    // Before anything that takes time.
    try TokenizerTraining.check(options(nil))
    let run = try TokenizerTraining.settings(in: out)
    let options = options(run)
    try options.compute.prepare()
    let console = Console(isQuiet: compute.quiet)
    var settings = run ?? TokenizerTrainingSettings()
    // Runs of versions that mirrored all classes go on so.
    let mirrorsAll = settings.holdOut == nil
    do {
      try apply(&settings)
      try settings.validate()
    } catch {
      // What the run has was right, so that it is a flag.
      throw UsageError("\(error)")
    }
    let needsClasses = !settings.recipe.unflippedClasses.isEmpty && !mirrorsAll
    let pictures = try data.dataSet(
      labels: needsClasses ? .wanted : .ignored, split: settings.split)
    if needsClasses { try settings.recipe.checkClasses(of: pictures) }
    let heldOut = try data.heldOut(
      pictures, share: settings.holdOut, split: settings.heldOutSplit, labels: .ignored)
    console.note(
      "\(data.data): \(heldOut.training.count) pictures to learn from, "
        + "\(heldOut.heldOut?.count ?? 0) held out")
    let report = TokenizerTrainingReport(console)
    defer { report.finish() }
    let path = try await TokenizerTraining().run(
      options, data: heldOut.training, heldOut: heldOut.heldOut,
      settings: { try apply(&$0) },
      perceptual: {
        try PerceptualChoice.network($0, precision: $1, device: $2)
      },
      events: { report.show($0) })
    report.finish()
    try console.result("\(path): finished; see \(out)/reconstructions")
  }

  /// - Parameter run: What the run in the folder has.
  private func options(_ run: TokenizerTrainingSettings?) -> TokenizerTrainingOptions {
    var options = TokenizerTrainingOptions(out: out)
    options.compute = compute.options(run)
    options.resumes = resume
    options.workers = data.workers
    options.toleratedShare = data.unreadable
    options.logEvery = pace.logEvery
    options.saveEvery = pace.saveEvery
    options.showEvery = pace.showEvery
    options.keep = pace.keep
    return options
  }
}

/// Where a tokenizer learns, and in which precision; what is not given keeps its default, or what the run
/// has.
struct TokenizerTrainingComputeFlags: ParsableArguments {
  @Option(help: "The precision: float32, bfloat16, float16 or auto. (default: float32)")
  var dtype: ComputeOptions.Precision?

  @OptionGroup var placement: PlacementFlags

  @Flag(help: "Show no progress and no summary.")
  var quiet = false

  func options(_ run: TokenizerTrainingSettings?) -> ComputeOptions {
    placement.options(dtype ?? run?.dtype ?? .float32)
  }
}

/// The shape of a tokenizer; what is not given keeps its default, or what the run has.
struct TokenizerShapeFlags: ParsableArguments {
  private static let defaults = TokenizerTrainingSettings()

  @Option(help: "Pixels along a side. (default: \(defaults.resolution))")
  var resolution: Int?

  @Option(help: "Channels of the first level, a multiple of 32. (default: \(defaults.channels))")
  var channels: Int?

  @Option(
    help:
      "The width of each level in units of --channels; each but the last halves the resolution. (default: 1,2,4,4)",
    transform: WholeNumbers.init(parsing:))
  var multipliers: WholeNumbers?

  @Option(help: "Residual blocks a level. (default: \(defaults.residualBlocks))")
  var residualBlocks: Int?

  @Flag(inversion: .prefixedNo, help: "Attention at the lowest resolution. (default: --attention)")
  var attention: Bool?

  @Option(help: "Code vectors. (default: \(defaults.codes))")
  var codes: Int?

  @Option(help: "The length of a code vector. (default: \(defaults.codeWidth))")
  var codeWidth: Int?

  @Option(help: "φ convolutions that the scales share. (default: \(defaults.phis))")
  var phis: Int?

  @Option(
    help: "Sizes of the token maps such as 1,2,3,4,6. (default: the usual ones of the finest)")
  var scales: String?

  func apply(_ settings: inout TokenizerTrainingSettings) {
    settings.resolution = resolution ?? settings.resolution
    settings.channels = channels ?? settings.channels
    settings.multipliers = multipliers?.values ?? settings.multipliers
    settings.residualBlocks = residualBlocks ?? settings.residualBlocks
    settings.attention = attention ?? settings.attention
    settings.codes = codes ?? settings.codes
    settings.codeWidth = codeWidth ?? settings.codeWidth
    settings.phis = phis ?? settings.phis
    settings.scales = scales ?? settings.scales
  }
}

/// How a tokenizer learns; what is not given keeps its default, or what the run has.
struct TokenizerTrainingFlags: ParsableArguments {
  private static let defaults = TokenizerTrainingSettings()

  @Option(help: "Pictures a step. (default: \(defaults.batch))")
  var batch: Int?

  @Option(help: "Passes over the data. (default: \(defaults.epochs))")
  var epochs: Int?

  @Option(help: "Steps of the run, instead of --epochs.")
  var steps: Int?

  @Option(help: "The peak learning rate. (default: \(defaults.rate))")
  var rate: Double?

  @Option(help: "How the rate falls: cos, lin, lin0, lin00, exp. (default: cos)")
  var schedule: String?

  @Option(help: "The share of the run in which the rate grows. (default: \(defaults.warmUp))")
  var warmUp: Double?

  @Option(help: "Weight decay. (default: \(defaults.weightDecay))")
  var weightDecay: Double?

  @Option(help: "AdamW's first beta. (default: \(defaults.beta1))")
  var beta1: Double?

  @Option(help: "AdamW's second beta. (default: \(defaults.beta2))")
  var beta2: Double?

  @Option(help: "The largest length of the gradient; 0 for any. (default: \(defaults.clip))")
  var clip: Double?

  @Option(
    help:
      "How much of the average weights a step keeps; 0 for no average. (default: \(defaults.averaging))"
  )
  var averaging: Double?

  @Option(help: "The weight of absolute differences. (default: \(defaults.absoluteWeight))")
  var l1: Double?

  @Option(help: "The weight of squared differences. (default: \(defaults.squaredWeight))")
  var l2: Double?

  @Option(help: "β, the pull of features to their codes. (default: \(defaults.commitment))")
  var commitment: Double?

  @Option(
    help: """
      The network of the perceptual loss: efficientnet-lite0, the path of its weights, \
      lpips:VGG_FILE,LINEAR_FILE, lpips:FILE or none. (default: efficientnet-lite0)
      """)
  var perceptual: String?

  @Option(help: "The weight of the perceptual loss. (default: \(defaults.perceptualWeight))")
  var perceptualWeight: Double?

  @Option(help: "The weight of the adversary; 0 for none. (default: \(defaults.adversarialWeight))")
  var adversarialWeight: Double?

  @Option(help: "The share of the run before the adversary. (default: \(defaults.adversaryStart))")
  var adversaryStart: Double?

  @Option(help: "Channels of the adversary's first layer. (default: \(defaults.adversaryChannels))")
  var adversaryChannels: Int?

  @Option(
    help:
      "The share of pictures decoded from their first scales only. (default: \(defaults.scaleDropout))"
  )
  var scaleDropout: Double?

  @Option(
    help: "Steps between new starts of unused codes; 0 for none. (default: \(defaults.reviveEvery))"
  )
  var reviveEvery: Int?

  @Option(help: "The share of the run, at its end, for the decoder alone. (default: 0)")
  var decoderTail: Double?

  @Option(
    help:
      "The largest share of wrong codes that the decoder then sees. (default: \(defaults.wrongCodes))"
  )
  var wrongCodes: Double?

  @Option(help: "Decides about everything that is random. (default: 0)")
  var seed: UInt64?

  func validate() throws {
    if let schedule {
      do { _ = try RateSchedule(parsing: schedule) } catch {
        throw ValidationError(error.description)
      }
    }
  }

  func apply(_ settings: inout TokenizerTrainingSettings) {
    settings.batch = batch ?? settings.batch
    settings.epochs = epochs ?? settings.epochs
    settings.steps = steps ?? settings.steps
    settings.rate = rate ?? settings.rate
    if let schedule, let parsed = try? RateSchedule(parsing: schedule) {
      settings.schedule = parsed
    }
    settings.warmUp = warmUp ?? settings.warmUp
    settings.weightDecay = weightDecay ?? settings.weightDecay
    settings.beta1 = beta1 ?? settings.beta1
    settings.beta2 = beta2 ?? settings.beta2
    settings.clip = clip ?? settings.clip
    settings.averaging = averaging ?? settings.averaging
    settings.absoluteWeight = l1 ?? settings.absoluteWeight
    settings.squaredWeight = l2 ?? settings.squaredWeight
    settings.commitment = commitment ?? settings.commitment
    settings.perceptualWeight = perceptualWeight ?? settings.perceptualWeight
    switch perceptual {
    case nil: break
    case "none": settings.perceptualWeight = 0
    case "efficientnet-lite0": settings.perceptual = nil
    default: settings.perceptual = perceptual
    }
    settings.adversarialWeight = adversarialWeight ?? settings.adversarialWeight
    settings.adversaryStart = adversaryStart ?? settings.adversaryStart
    settings.adversaryChannels = adversaryChannels ?? settings.adversaryChannels
    settings.scaleDropout = scaleDropout ?? settings.scaleDropout
    settings.reviveEvery = reviveEvery ?? settings.reviveEvery
    settings.decoderTail = decoderTail ?? settings.decoderTail
    settings.wrongCodes = wrongCodes ?? settings.wrongCodes
    settings.seed = seed ?? settings.seed
  }
}

/// How often a run tells, shows and saves.
struct TokenizerPaceFlags: ParsableArguments {
  @Option(help: "Steps between lines of the log.")
  var logEvery = 10

  @Option(help: "Steps between checkpoints. (default: an epoch, but at least 100)")
  var saveEvery: Int?

  @Option(help: "Steps between reconstructions and measurements. (default: as --save-every)")
  var showEvery: Int?

  @Option(help: "Checkpoints that stay.")
  var keep = 2

  func validate() throws {
    try checkPositive(logEvery, "log-every")
    try checkPositive(saveEvery, "save-every")
    try checkPositive(showEvery, "show-every")
    try checkPositive(keep, "keep")
  }
}

/// Whole numbers with commas between.
struct WholeNumbers {
  let values: [Int]

  init(parsing text: String) throws {
    values = try text.split(separator: ",", omittingEmptySubsequences: false).map {
      guard let number = Int($0) else {
        throw ValidationError("\(text) are no whole numbers; write them as 1,2,4")
      }
      return number
    }
  }
}
