import ArgumentParser
import MVAR

struct DetokenizeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "detokenize",
    abstract: "Turns tokens into pictures.",
    discussion: """
      Reads what `mvar tokenize` or `mvar sample --trace` wrote. In a folder the pictures are called \
      0000.png and so on; files of these names are replaced.

        mvar detokenize --tokenizer vae_ch160v4096z32.pth --tokens photo.safetensors --out back.png
      """)

  @Option(help: "The tokenizer, or a checkpoint that holds one: a file or a name, as of a model.")
  var tokenizer: String

  @Option(help: "A .safetensors file with tokens.0 to tokens.K-1, each [B, n] int64.")
  var tokens: String

  @OptionGroup var output: PictureDestinationFlags

  @Option(
    help: "Sizes such as 1x1,2x3, where the file does not tell them and not all are squares.",
    transform: Scales.parse)
  var scales: ScaleSchedule?

  @Flag(help: "Also write the picture after every scale, side by side.")
  var showScales = false

  @OptionGroup var compute: TokenizerComputeFlags

  func run() async throws {
    try compute.options.prepare()
    let console = Console(isQuiet: compute.quiet)
    let tokenizerFile = try await ModelSource(console: console, isConsenting: false)
      .find(tokenizer).path
    let all = try PictureTokens(contentsOf: tokens, schedule: scales)
    let destination = try PictureDestination(
      output.out, stems: (0..<all.count).map(Self.stem), format: output.format,
      sources: [tokens] + Checkpoint(tokenizerFile).filesRead,
      besides: { showScales ? [PictureDestination.scalesFile(of: $0)] : [] })
    do {
      let tokenizer = try await PictureTokenizer(tokenizerFile, options: compute.options)
      let writer = PictureWriter(
        tokenizer: tokenizer, destination: destination, showsScales: showScales,
        texts: .decoded(by: tokenizerFile, all.schedule), console: console)
      try await writer.write { all[$0..<$0 + 1] }
    } catch {
      destination.removeIfEmpty()
      throw error
    }
  }

  private static func stem(_ index: Int) -> String {
    let number = String(index)
    return String(repeating: "0", count: max(4 - number.count, 0)) + number
  }
}
