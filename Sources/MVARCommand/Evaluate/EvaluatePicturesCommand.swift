import ArgumentParser
import Foundation
import MVAR
import MVAREvaluation
import Pictures
import Torch

struct EvaluatePicturesCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pictures",
    abstract: "Measures pictures, or a model's pictures, against real ones. (default)",
    discussion: """
      The pictures and the reference are folders, searched with all folders in them, or .npz files as \
      OpenAI's evaluator reads them: arr_0 [N, H, W, 3] uint8; or features [N, D]; the reference may \
      also be mu and sigma (and mu_s and sigma_s for sFID), as that evaluator and pytorch-fid write \
      them. A reference's pictures are measured once and kept in ~/.cache/mvar.

        mvar evaluate --images generated/ --reference real/ --size 256
        mvar evaluate --images samples.npz --reference VIRTUAL_imagenet256_labeled.npz --json -

      With --model the pictures are generated first: classes in turn, so that they are balanced; \
      picture i has the seed S + i. Everything is kept in the folder --out: after an interruption the \
      same command goes on at the next picture. Several GPUs share the work under torchrun:

        torchrun --no-python --nproc-per-node 8 mvar evaluate --model d16.pth --samples 50000 \\
          --reference VIRTUAL_imagenet256_labeled.npz --out runs/d16

      --sweep guidance=1.0:3.0:0.25 evaluates at each value and draws FID against IS as sweep.svg.
      """)

  @Option(help: "Pictures to measure: a folder or a .npz file.")
  var images: String?

  @Option(help: "A model to generate with: .pth, .safetensors or .safetensors.index.json.")
  var model: String?

  @Option(help: "Its tokenizer. (default: as for mvar sample)")
  var tokenizer: String?

  @Option(help: "What to compare with: a folder or a .npz file.")
  var reference: String

  @Option(parsing: .unconditional, help: "How many pictures to generate.")
  var samples = 50_000

  @Option(parsing: .unconditional, help: "The first picture's seed.")
  var seed: UInt64 = 0

  @Option(
    parsing: .unconditional, help: "Pictures generated at once. (default: 4 on a CPU, 64 on a GPU)")
  var batch: Int?

  @Option(help: "The folder of a run with --model; it is made if it is missing.")
  var out = "evaluation"

  @Option(help: "Also write the generated pictures to this .npz file, for OpenAI's evaluator.")
  var npz: String?

  @Option(help: "Evaluate at several values of guidance, top-k or top-p: guidance=1.0:3.0:0.25.")
  var sweep: String?

  @Option(
    help: "Write what was measured of the pictures to this .npz file, to be a reference later.")
  var statistics: String?

  @Flag(help: "Remove the features that a run with --model keeps, once it is finished.")
  var tidy = false

  @Flag(inversion: .prefixedNo, help: "Keep what was measured of references.")
  var cache = true

  @OptionGroup(title: "How to draw") var sampling: SamplingFlags
  @OptionGroup(title: "How to measure") var networkFlags: NetworkFlags
  @OptionGroup(title: "What to compute") var metrics: MetricFlags
  @OptionGroup(title: "Pictures of several sizes") var fitting: FittingFlags
  @OptionGroup(title: "Where to compute") var compute: ComputeFlags

  @Option(
    defaultAsFlag: "-", parsing: .next,
    help: "Write a record to this file, or to standard output without one.")
  var json: String?

  @Flag(help: "Show no progress and no table.")
  var quiet = false

  func validate() throws {
    guard (images == nil) != (model == nil) else {
      throw ValidationError("name either --images, or a --model to generate them with")
    }
    for (value, name) in [(batch, "batch"), (Optional(samples), "samples")] {
      try checkPositive(value, name, atMost: 10_000_000)
    }
    if images != nil, sweep != nil || npz != nil {
      throw ValidationError("--sweep and --npz are for pictures that --model generates")
    }
    if sweep != nil, npz != nil || statistics != nil {
      throw ValidationError("--npz and --statistics hold one run; leave --sweep out")
    }
    do { _ = try sweep.map(Sweep.init(parsing:)) } catch { throw ValidationError("\(error)") }
  }

  func run() async throws {
    let share = try ProcessShare(environment: ProcessInfo.processInfo.environment)
    var options = compute.options
    if share.count > 1, options.place != .cpu, LibTorch.hasNVIDIADriver {
      options.place = .cuda(share.localRank)
    }
    try options.prepare()
    let files = try model.map { try ModelFiles(model: $0, tokenizer: tokenizer) }
    try checkOutputs(reading: files?.filesRead ?? [])
    let console = Console(isQuiet: quiet || !share.isFirst, outputIsRecord: json == "-")
    let choice = try networkFlags.choice(console)
    let evaluator = try await Evaluator(
      choice, options: options, batch: networkFlags.measureBatch, usesTF32: networkFlags.tf32)
    if let images {
      // Several processes would do the same.
      guard share.isFirst else { return }
      try await evaluate(images, evaluator, console)
    } else if let files {
      try await generate(files, evaluator, options, share, console)
    }
  }

  private func checkOutputs(reading modelFiles: [String]) throws {
    var check = OutputCheck(
      reading: [images, reference].compactMap { $0 } + modelFiles + networkFlags.files)
    for (file, option) in [(npz, "--npz"), (statistics, "--statistics"), (json, "--json")] {
      guard let file, file != "-" else { continue }
      try Files.checkWritable(file)
      try check.add(file, option)
    }
  }

  // MARK: Pictures that are there

  private func evaluate(_ images: String, _ evaluator: Evaluator, _ console: Console) async throws {
    let start = ContinuousClock.now
    // A wrong file is better told before hours of work.
    let source = try pictures(images)
    let real = try await readReference(evaluator, console)
    let made: SetStatistics
    if let source {
      let progress = SharedProgress(console, source.count, "pictures")
      defer { progress.finish() }
      made = try await evaluator.measure(source, keepsFeatures: metrics.needsFeatures) {
        progress.reach($0)
      }
    } else {
      made = try await evaluator.measure(featuresIn: images)
    }
    if let statistics { try made.write(to: statistics) }
    let result = try await evaluator.compare(made, with: real, metrics.comparison)
    let report = EvaluationReport(
      images: images, reference: reference, result: result,
      seconds: start.duration(to: .now).inSeconds)
    try console.report("pictures", [(Files.name(of: images), result)])
    if let json { try Record.write(report, to: json) }
  }

  /// Nil for a file of features.
  private func pictures(_ path: String) throws -> (any PictureSource)? {
    if Files.isFolder(path) { return try PictureFolder(path, fitting: fitting.fitting) }
    return try NumPyPictures.isHeld(by: path) ? NumPyPictures(path) : nil
  }

  private func readReference(_ evaluator: Evaluator, _ console: Console) async throws -> Reference {
    var options = Evaluator.ReferenceOptions()
    options.needsFeatures = !metrics.distancesOnly
    options.fitting = fitting.fitting
    options.cache = cache ? .standard : nil
    let progress = ReferenceProgress(console)
    defer { progress.finish() }
    return try await evaluator.reference(reference, options) { progress.reach($0, of: $1) }
  }

  // MARK: Pictures of a model

  private func generate(
    _ files: ModelFiles, _ evaluator: Evaluator, _ options: ComputeOptions, _ share: ProcessShare,
    _ console: Console
  ) async throws {
    let real = share.isFirst ? try await readReference(evaluator, console) : nil
    let digests = try Digests(files)
    let generator = try await files.generator(options, console)
    let evaluation = GenerationEvaluation(
      generator: generator, evaluator: evaluator, files: files, digests: digests, share: share,
      console: console, samples: samples, seed: seed,
      batch: batch ?? (generator.device == .cpu ? 4 : 64), npz: npz, statistics: statistics,
      isTidy: tidy, reference: real, referenceName: reference, comparison: metrics.comparison)
    guard let text = sweep else {
      guard let report = try await evaluation.run(sampling.settings, in: out) else { return }
      try console.report("model", [(Files.name(of: files.model), report.result)])
      if let json { try Record.write(report, to: json) }
      return
    }
    try await runSweep(Sweep(parsing: text), evaluation, console, share)
  }

  private func runSweep(
    _ sweep: Sweep, _ evaluation: GenerationEvaluation, _ console: Console, _ share: ProcessShare
  ) async throws {
    var points: [Sweep.Point] = []
    for value in sweep.values {
      let label = "\(sweep.setting.rawValue)-\(sweep.label(value))"
      console.note("\(sweep.setting.rawValue) \(sweep.label(value))")
      let report = try await evaluation.run(
        sweep.applied(to: sampling.settings, value), in: Files.join(out, label))
      guard let report else { continue }
      points.append(.init(value: value, result: report.result))
      // After every point, so that an interruption leaves what is known.
      try Record.write(points, to: Files.join(out, "sweep.json"))
      let svg = SweepChart(sweep, points).svg
      try writeWholeFile(Array(svg.utf8), to: Files.join(out, "sweep.svg"))
    }
    guard share.isFirst else { return }
    try console.report(
      sweep.setting.rawValue, points.map { (sweep.label($0.value), $0.result) })
    try console.result("the curve is in \(Files.join(out, "sweep.svg"))")
    if let json { try Record.write(points, to: json) }
  }
}
