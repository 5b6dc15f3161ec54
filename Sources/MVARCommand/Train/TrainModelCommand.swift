import ArgumentParser
import Foundation
import MVAR
import MVARTraining
import Torch

struct TrainModelCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "model",
    abstract: "Trains an M-VAR or VAR model on the tokens of pictures.",
    discussion: """
      The defaults are those of the published models. Pictures are turned into tokens first, once. \
      --data may also be a folder of such tokens, or a safetensors file with tokens.0 to tokens.K-1, \
      as `mvar tokenize` writes them, and labels, [n] int64.

        mvar train model --data photos/ --tokenizer runs/tok --depth 16 --out runs/d16
        mvar train model --data photos/ --tokenizer runs/tok --out runs/d16 --resume

      The folder of the run holds checkpoints, log.jsonl (see `mvar plot`), event files for \
      TensorBoard, and in the end model.safetensors, which `mvar sample --model` reads.

      Several processes share each step where torchrun or srun starts them, one a GPU; --batch is \
      that of all together:

        torchrun --no-python --nproc-per-node 2 mvar train model ...

      They give the weights that one process gives with as many micro-batches (--accumulation), and \
      a run may go on with another number of them.

      After Ctrl-C, a crash or a full disk, --resume goes on with the settings of the run, and ends \
      with the same weights as if nothing had happened.
      """)

  @OptionGroup var data: ModelDataFlags

  @Option(help: "The tokenizer: a checkpoint, or the folder of its run.")
  var tokenizer: String

  @Option(help: "The folder of the run.")
  var out: String

  @Flag(help: "Go on with the run in that folder.")
  var resume = false

  @OptionGroup var settings: ModelSettingsFlags
  @OptionGroup(title: "What is told and kept") var records: TrainingRecordFlags
  @OptionGroup var compute: ComputeFlags

  @Flag(help: "Compute blocks again in the backward pass: less memory, a third more work.")
  var recompute = false

  @Flag(
    inversion: .prefixedNo,
    help: """
      Let each of several processes keep the optimizer's state and the average of its part of the \
      weights alone: less memory, the same numbers.
      """)
  var shardOptimizer = true

  func run() async throws {
    let place = try ProcessPlace(environment: ProcessInfo.processInfo.environment)
    // Before anything that takes time.
    try ModelTraining.check(options(nil))
    let checked = try checkedSettings()
    try compute.options.prepare()
    let options = try options(place)
    // The first process speaks for all.
    let isFirst = place.map { $0.rank == 0 } ?? true
    let console = Console(
      isQuiet: records.quiet || !isFirst, outputIsRecord: records.json == "-")
    let display = TrainingDisplay(console)
    defer { display.finish() }
    let source = try await source(options, checked, makes: isFirst, console)
    let (flags, dataFlags) = (settings, data)
    do {
      let path = try await ModelTraining().run(
        options,
        settings: {
          flags.apply(to: &$0)
          dataFlags.apply(to: &$0)
        },
        data: { settings, _ in try source.data(settings) },
        events: { display.show($0) })
      display.finish()
      try console.result("\(path): use it with `\(use(of: path, with: options.tokenizer))`")
      if let json = records.json, isFirst {
        try Record.write(display.summary(model: path), to: json)
      }
    } catch is CancellationError {
      display.finish()
      console.note("step \(display.lastStep) is saved; go on with --resume")
      throw CancellationError()
    }
  }

  /// The command that draws with the model, which finds a tokenizer in the model or beside it.
  private func use(of model: String, with tokenizer: String) -> String {
    func place(_ path: String) -> String {
      URL(filePath: path).resolvingSymlinksInPath().standardizedFileURL.path
    }
    let found = try? ModelFiles(model: model, tokenizer: nil).tokenizer
    let isFound = found.map { place($0) == place(tokenizer) } ?? false
    return "mvar sample --model \(model)" + (isFound ? "" : " --tokenizer \(tokenizer)")
  }

  /// The settings that the run will have.
  private func checkedSettings() throws -> ModelTrainingSettings {
    let saved = RunFolder.saved(in: out).last
    var checked = try saved.map { try RunState(checkpoint: $0.path).settings } ?? .init()
    settings.apply(to: &checked)
    data.apply(to: &checked)
    // What the run has was right, so that it is a flag.
    do { try checked.validate() } catch { throw UsageError(error.description) }
    return checked
  }

  private func source(
    _ options: ModelTrainingOptions, _ settings: ModelTrainingSettings, makes: Bool,
    _ console: Console
  ) async throws -> TokenSource {
    try await ModelData(
      flags: data, out: out, tokenizer: options.tokenizer, compute: options.compute,
      settings: settings, resumes: resume, makes: makes
    ).source(console)
  }

  private func options(_ place: ProcessPlace?) throws -> ModelTrainingOptions {
    var options = ModelTrainingOptions(
      out: out, tokenizer: try TokenizerPath.checkpoint(tokenizer))
    options.compute = compute.options
    options.place = place
    if let place, options.compute.place != .cpu {
      options.compute.place = try device(of: place, among: Device.cudaCount)
    }
    options.resumes = resume
    options.recomputes = recompute
    options.sharesOptimizer = shardOptimizer
    options.logEvery = records.logEvery
    options.saveEvery = records.saveEvery
    options.validateEvery = records.validateEvery
    options.keep = records.keep
    options.sampleEvery = records.sampleEvery ?? 0
    return options
  }
}

extension TrainModelCommand {
  /// The GPU of one of several processes on a machine; srun may show each process only its own.
  private func device(
    of place: ProcessPlace, among count: Int
  ) throws(TrainingError) -> ComputeOptions.Place {
    switch (compute.options.place, count) {
    case (.auto, 0): return .cpu
    case (_, 0...1): return compute.options.place
    default:
      guard place.localRank < count else {
        throw TrainingError(
          .setting,
          "process \(place.rank) is number \(place.localRank + 1) on this machine, which has \(count) "
            + "GPUs; start one process a GPU, or use --device cpu")
      }
      return .cuda(place.localRank)
    }
  }
}

/// What a run tells and keeps.
struct TrainingRecordFlags: ParsableArguments {
  @Option(parsing: .unconditional, help: "Steps between lines of the log.")
  var logEvery = 10

  @Option(parsing: .unconditional, help: "Steps between checkpoints. (default: an epoch)")
  var saveEvery: Int?

  @Option(parsing: .unconditional, help: "Steps between validations. (default: an epoch)")
  var validateEvery: Int?

  @Option(
    parsing: .unconditional,
    help: "Steps between sheets of samples, in the run's folder. (default: none)")
  var sampleEvery: Int?

  @Option(parsing: .unconditional, help: "Checkpoints that stay.")
  var keep = 2

  @Option(
    defaultAsFlag: "-", parsing: .next,
    help: "Write a record to this file, or to standard output without one.")
  var json: String?

  @Flag(help: "Show no progress and no summary.")
  var quiet = false

  func validate() throws {
    for (value, name) in [
      (logEvery, "log-every"), (saveEvery, "save-every"), (validateEvery, "validate-every"),
      (keep, "keep"), (sampleEvery, "sample-every"),
    ] {
      try checkPositive(value, name)
    }
  }
}
