import ArgumentParser
import MVAR

struct TokenizeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tokenize",
    abstract: "Turns pictures into tokens.",
    discussion: """
      Writes tokens.0 to tokens.K-1, each [B, n] int64, of B pictures.

        mvar tokenize --tokenizer vae_ch160v4096z32.pth --image photo.jpg --out photo.safetensors
      """)

  @OptionGroup var files: TokenizerFlags
  @OptionGroup var pictures: PictureFlags

  @Option(help: "The file to write; it ends in .safetensors and is replaced if it is there.")
  var out: String

  @Option(
    help:
      "256px, 512px or sizes such as 1,2,3,5,6 or 1x1,2x3. (default: the model's, the tokenizer's, or 256px)",
    transform: Scales.parse)
  var scales: ScaleSchedule?

  @OptionGroup var compute: TokenizerComputeFlags

  func validate() throws {
    guard out.lowercased().hasSuffix(".safetensors") else {
      throw ValidationError("\(out) does not end in .safetensors; that is what is written")
    }
  }

  func run() async throws {
    try compute.options.prepare()
    let files = try await files.found(Console(isQuiet: compute.quiet))
    try Files.checkWritable(out)
    var check = OutputCheck(reading: try files.filesRead() + pictures.image)
    try check.add(out, "--out")
    let checkpoint = try Checkpoint(files.tokenizer)
    let configuration = try checkpoint.tokenizerConfiguration()
    let schedule = try Scales.schedule(
      named: scales, model: files.model, tokenizer: configuration, notes: checkpoint.notes)
    let inputs = try fittedPictures(pictures, schedule: schedule, tokenizer: configuration)
    let tokenizer = try await PictureTokenizer(files.tokenizer, options: compute.options)
    let console = Console(isQuiet: compute.quiet)
    var progress = console.progress(inputs.count)
    defer { progress.finish() }
    var parts: [PictureTokens] = []
    for (index, picture) in inputs.enumerated() {
      try Task.checkCancellation()
      parts.append(try await tokenizer.tokens(of: [picture], schedule: schedule))
      progress.advance("picture \(index + 1) of \(inputs.count)")
    }
    try PictureTokens(joining: parts).write(to: out)
    progress.finish()
    try console.result(
      "\(out): \(schedule.tokenCount) tokens of \(inputs.count) "
        + (inputs.count == 1 ? "picture" : "pictures"))
  }
}
