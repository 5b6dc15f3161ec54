import ArgumentParser
import MVAR

struct ReconstructCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "reconstruct",
    abstract: "Takes pictures to tokens and back.",
    discussion: """
      Shows what a tokenizer keeps of a picture.

        mvar reconstruct --tokenizer vae_ch160v4096z32.pth --image photo.jpg --out back.png
        mvar reconstruct --tokenizer vae_ch160v4096z32.pth --image *.jpg --out back/ --scales
        mvar reconstruct --tokenizer tokenizer.pth --scales 1,2,3,5,6 --image a.png --out b.png

      --scales without sizes (or --show-scales) also writes the picture after every scale, side by \
      side, as back-scales.png. A file that is there already is replaced, but never one that is read.
      """)

  @OptionGroup var files: TokenizerFlags
  @OptionGroup var pictures: PictureFlags
  @OptionGroup var output: PictureDestinationFlags

  @Option(
    defaultAsFlag: .shown, parsing: .next,
    help: "256px, 512px or sizes such as 1,2,3,5,6 or 1x1,2x3; without a value, --show-scales.")
  var scales: ScaleChoice?

  @Flag(help: "Also write the picture after every scale, side by side.")
  var showScales = false

  @OptionGroup var compute: TokenizerComputeFlags

  /// What `--scales` means: sizes, or the wish to see them all.
  enum ScaleChoice: ExpressibleByArgument, CustomStringConvertible {
    case sizes(String)
    case shown

    init?(argument: String) { self = .sizes(argument) }

    var description: String {
      switch self {
      case .sizes(let text): text
      case .shown: "show all"
      }
    }
  }

  func validate() throws { _ = try namedSchedule() }

  func run() async throws {
    try compute.options.prepare()
    let files = try await files.found(Console(isQuiet: compute.quiet))
    let checkpoint = try Checkpoint(files.tokenizer)
    let configuration = try checkpoint.tokenizerConfiguration()
    let schedule = try Scales.schedule(
      named: namedSchedule(), model: files.model, tokenizer: configuration, notes: checkpoint.notes)
    let inputs = try fittedPictures(pictures, schedule: schedule, tokenizer: configuration)
    let destination = try PictureDestination(
      output.out, stems: pictures.image.map(Files.stem), format: output.format,
      sources: pictures.image + files.filesRead(),
      besides: { showsScales ? [PictureDestination.scalesFile(of: $0)] : [] })
    do {
      let tokenizer = try await PictureTokenizer(files.tokenizer, options: compute.options)
      let writer = PictureWriter(
        tokenizer: tokenizer, destination: destination, showsScales: showsScales,
        texts: .decoded(by: files.tokenizer, schedule), console: Console(isQuiet: compute.quiet))
      try await writer.write { index in
        try await tokenizer.tokens(of: [inputs[index]], schedule: schedule)
      }
    } catch {
      destination.removeIfEmpty()
      throw error
    }
  }

  private var showsScales: Bool {
    if case .shown = scales { return true }
    return showScales
  }

  private func namedSchedule() throws -> ScaleSchedule? {
    guard case .sizes(let text) = scales else { return nil }
    do { return try Scales.parse(text) } catch { throw ValidationError(error.description) }
  }
}
