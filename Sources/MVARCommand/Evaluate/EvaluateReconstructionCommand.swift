import ArgumentParser
import FeatureNetworks
import MVAR
import MVAREvaluation
import Pictures

struct EvaluateReconstructionCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "reconstruction",
    abstract: "Measures what a tokenizer keeps of pictures.",
    discussion: """
      Takes the pictures of a folder to tokens and back, and prints rFID (or the distance of another \
      network), PSNR and SSIM, a perceptual distance by EfficientNet-Lite0 where its weights are \
      there, and how many codes are used at each scale. With --lpips it measures LPIPS (VGG16, \
      version 0.1) too, by weights that you fetch: torchvision's vgg16-397923af.pth and \
      weights/v0.1/vgg.pth of the PyPI package lpips.

        mvar evaluate reconstruction --tokenizer vae_ch160v4096z32.pth --data imagenet/val
        mvar evaluate reconstruction --tokenizer vae_ch160v4096z32.pth --data imagenet/val \\
          --lpips vgg16-397923af.pth,vgg.pth
      """)

  @OptionGroup var files: TokenizerFlags

  @Option(help: "The folder of pictures, searched with all folders in it.")
  var data: String

  @Option(
    help: "256px, 512px or sizes such as 1,2,3,5,6 or 1x1,2x3. (default: the model's, or 256px)",
    transform: Scales.parse)
  var scales: ScaleSchedule?

  @Option(help: "How a picture of another size is made to fit: crop, pad or stretch.")
  var fit: PictureFit = .crop

  @Option(parsing: .unconditional, help: "Take only so many pictures, evenly spread.")
  var samples: Int?

  @Option(
    parsing: .unconditional, help: "Pictures at once. (default: 4 on a CPU, 64 on a GPU)")
  var batch: Int?

  @OptionGroup(title: "How to measure") var networkFlags: NetworkFlags

  @Option(
    help: "Measure LPIPS by the weights in VGG_FILE,LINEAR_FILE, or in one file that has both.")
  var lpips: String?

  @OptionGroup(title: "What to compute") var metrics: MetricFlags
  @OptionGroup(title: "Where to compute") var compute: TokenizerComputeFlags

  @Option(
    defaultAsFlag: "-", parsing: .next,
    help: "Write a record to this file, or to standard output without one.")
  var json: String?

  func validate() throws {
    try checkPositive(samples, "samples")
    try checkPositive(batch, "batch", atMost: 10_000_000)
  }

  func run() async throws {
    try compute.options.prepare()
    if let json, json != "-" { try Files.checkWritable(json) }
    let console = Console(isQuiet: compute.quiet, outputIsRecord: json == "-")
    let lpipsFiles = try lpips.map(LPIPSFiles.init(parsing:))
    let files = try await files.found(console)
    let weights = networkFlags.files + (lpips ?? "").split(separator: ",").map(String.init)
    var check = OutputCheck(reading: try files.filesRead() + [data] + weights)
    try check.add(json, "--json")
    let checkpoint = try Checkpoint(files.tokenizer)
    let configuration = try checkpoint.tokenizerConfiguration()
    let schedule = try Scales.schedule(
      named: scales, model: files.model, tokenizer: configuration, notes: checkpoint.notes)
    guard schedule.final.width == schedule.final.height else {
      throw UsageError("the scales \(schedule) are not square; name square ones with --scales")
    }
    let source = try PictureFolder(
      data,
      fitting: .init(side: schedule.final.width * configuration.patchSize, fit: fit),
      limit: samples)
    let evaluator = try await Evaluator(
      networkFlags.choice(console), options: compute.options, batch: networkFlags.measureBatch,
      usesTF32: networkFlags.tf32)
    let tokenizer = try await PictureTokenizer(files.tokenizer, options: compute.options)
    let evaluation = ReconstructionEvaluation(
      tokenizer: tokenizer, evaluator: evaluator,
      fidelity: try FidelityMeter(
        efficientNet: try perceptualNetwork(console), lpips: lpipsFiles, options: compute.options))
    let progress = SharedProgress(console, source.count, "pictures")
    defer { progress.finish() }
    let result = try await evaluation.run(
      source, schedule: schedule, batch: batch ?? (evaluator.device == .cpu ? 4 : 64),
      comparison: metrics.comparison
    ) { progress.reach($0) }
    progress.finish()
    try show(result, of: files.tokenizer, console)
    if let json {
      try Record.write(Report(self, tokenizer: files.tokenizer, schedule, result), to: json)
    }
  }

  /// Nil where the weights are not there, unless they were named.
  private func perceptualNetwork(_ console: Console) throws -> NetworkFile? {
    if networkFlags.efficientnet == nil, NetworkFile.found(.efficientNetLite0) == nil {
      console.note("no perceptual distance without EfficientNet-Lite0; `make networks` fetches it")
      return nil
    }
    return try networkFlags.efficientNetFile()
  }

  private func show(
    _ result: ReconstructionResult, of tokenizer: String, _ console: Console
  ) throws {
    try console.report("tokenizer", [(Files.name(of: tokenizer), result.distance)])
    var figures =
      "PSNR \(Quantity.rounded(result.psnr, 2)) dB, SSIM \(Quantity.rounded(result.ssim, 4))"
    if let perceptual = result.perceptual {
      figures += ", perceptual distance (EfficientNet-Lite0) \(Quantity.rounded(perceptual, 4))"
    }
    if let lpips = result.lpips { figures += ", LPIPS (VGG16) \(Quantity.rounded(lpips, 4))" }
    try console.result(figures)
    for usage in result.codebook {
      try console.result(
        "scale \(usage.scale): \(usage.codes) codes used "
          + "(\(Quantity.rounded(usage.share * 100, 1)) %), perplexity "
          + "\(Quantity.rounded(usage.perplexity, 1)), \(usage.tokens) tokens")
    }
  }

  private struct Report: Encodable {
    let software = "mvar \(version)"
    let tokenizer: String
    let tokenizerDigest: String
    let data: String
    let scales: String
    let result: ReconstructionResult

    private enum CodingKeys: String, CodingKey {
      case software, tokenizer, data, scales, result
      case tokenizerDigest = "tokenizer_sha256"
    }

    init(
      _ command: EvaluateReconstructionCommand, tokenizer: String, _ schedule: ScaleSchedule,
      _ result: ReconstructionResult
    ) throws {
      self.tokenizer = tokenizer
      tokenizerDigest = try Checkpoint.digest(tokenizer)
      data = command.data
      scales = schedule.description
      self.result = result
    }
  }
}
