import ArgumentParser
import MVAR

struct SampleCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sample",
    abstract: "Generates pictures.",
    discussion: """
      Classes are numbers, ranges, names, all, random or random:N, with commas between:

        mvar sample --model d16.pth --class 207,macaw,88-92 --count 4 --out pictures
        mvar sample --model d16.pth --class random:8 --grid --previews --seed 7
        mvar sample --model d16.pth --class 207 --json - --quiet

      The pictures are numbered through, and picture i has the seed S + i. The same checkpoint, \
      settings, class and seed give the same picture, whatever else is in the batch. The files are \
      called 0000-class207-seed0.png and so on; files of these names are replaced, each once it is \
      whole. PNG and JPEG files carry the settings that made them.

      Ctrl-C stops after the scale that is being drawn and keeps the pictures that are finished; a \
      second one stops at once.
      """)

  @OptionGroup(title: "Checkpoints") var checkpoints: CheckpointFlags
  @OptionGroup(title: "What to draw") var selection: SelectionFlags
  @OptionGroup(title: "How to draw") var sampling: SamplingFlags
  @OptionGroup(title: "Where to compute") var compute: ComputeFlags
  @OptionGroup(title: "What to write") var output: SampleOutputFlags

  @Option(
    parsing: .unconditional,
    help: "Pictures drawn at once. (default: 4 on a CPU, 16 on a GPU; all with --trace)")
  var batch: Int?

  func validate() throws {
    try checkPositive(batch, "batch")
  }

  func run() async throws {
    try compute.options.prepare()
    let console = Console(isQuiet: output.quiet, outputIsRecord: output.json == "-")
    let files = try await checkpoints.files(console)
    let jobs = try selection.jobs(of: files.configuration)
    if let batch, output.trace != nil, batch < jobs.count {
      throw UsageError(
        "--batch \(batch) is less than the \(jobs.count) pictures that --trace records; leave "
          + "--batch out or draw fewer pictures")
    }
    let destination = try SampleDestination(output, jobs, reading: files.filesRead)
    do {
      try await draw(jobs, files, destination)
    } catch {
      destination.removeIfEmpty()
      throw error
    }
  }

  private func draw(_ jobs: [SampleJob], _ files: ModelFiles, _ destination: SampleDestination)
    async throws
  {
    let console = Console(isQuiet: output.quiet, outputIsRecord: output.json == "-")
    let digests = output.json == nil ? nil : try Digests(files)
    let generator = try await files.generator(compute.options, console)
    let size = batch ?? (output.trace != nil ? jobs.count : generator.device == .cpu ? 4 : 16)
    let origin = PictureOrigin(
      settings: sampling.settings, files: files, digests: digests, dtype: generator.dtype,
      device: generator.device)
    var run = SampleRun(
      generator: generator, origin: origin, destination: destination, console: console)
    try await run.draw(jobs, batch: size)
  }
}

/// The files to generate with.
struct CheckpointFlags: ParsableArguments {
  @Option(
    help: """
      The model: a .pth, .safetensors or .safetensors.index.json file, a name that `mvar models` lists, \
      such as m-var-d16, or owner/name[/file] of a repository.
      """)
  var model: String

  @Option(
    help: """
      The tokenizer, likewise. (default: the one in the model's file, the one that a model known by \
      name was trained with, or vae_ch160v4096z32.pth or tokenizer.pth beside it)
      """)
  var tokenizer: String?

  @Flag(help: "Fetch what is named and not here without asking.")
  var yes = false

  /// - Throws: Where a name stands for nothing, or its file cannot be had.
  func files(_ console: Console) async throws -> ModelFiles {
    try await ModelFiles.find(
      model: model, tokenizer: tokenizer,
      in: ModelSource(console: console, isConsenting: yes))
  }
}
