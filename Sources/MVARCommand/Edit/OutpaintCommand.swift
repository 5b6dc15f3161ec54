import ArgumentParser
import MVAR

struct OutpaintCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "outpaint",
    abstract: "Draws what lies beyond a picture's edges.",
    discussion: """
        mvar edit outpaint --model m-var-d16 --image in.png --left 64 --right 64 \\
          --out out.png
        mvar edit outpaint --model m-var-d16 --image in.png --top 128 \\
          --keep-pixels --out out.png

      A model draws one size, such as 256 × 256. The picture with its margins is resized to fit into \
      it, and so is the result; --keep-pixels brings it back to the size of the picture with its \
      margins, with the original inside and what was drawn, enlarged, around it.
      """)

  @OptionGroup(title: "Checkpoints") var checkpoints: CheckpointFlags
  @OptionGroup(title: "What to edit") var image: EditedImageFlags

  @Option(parsing: .unconditional, help: "Pixels to draw at the left.") var left = 0
  @Option(parsing: .unconditional, help: "Pixels to draw at the top.") var top = 0
  @Option(parsing: .unconditional, help: "Pixels to draw at the right.") var right = 0
  @Option(parsing: .unconditional, help: "Pixels to draw at the bottom.") var bottom = 0

  @Option(name: .customLong("class"), parsing: .unconditional, help: "What to draw: a class.")
  var classText: String?

  @OptionGroup(title: "The region's edge") var edges: EdgeFlags
  @OptionGroup(title: "The rest of the picture") var keeping: KeepingFlags
  @OptionGroup(title: "How to draw") var sampling: SamplingFlags
  @OptionGroup(title: "How many") var results: EditedCountFlags
  @OptionGroup(title: "Where to compute") var compute: ComputeFlags
  @OptionGroup(title: "What to write") var output: EditOutputFlags

  func validate() throws {
    for (name, value) in [("left", left), ("top", top), ("right", right), ("bottom", bottom)]
    where value < 0 {
      throw ValidationError("\(name) is \(value); use 0 or more pixels")
    }
    guard left > 0 || top > 0 || right > 0 || bottom > 0 else {
      throw ValidationError(
        "no margin is named; say how far to draw with --left, --top, --right or --bottom")
    }
  }

  func run() async throws {
    let margins = EditCanvas.Margins(left: left, top: top, right: right, bottom: bottom)
    var description = EditDescription("outpaint")
    description.margins = margins
    let edit = RegionEdit(
      session: EditSession(
        checkpoints: checkpoints, sampling: sampling, compute: compute, output: output),
      image: image, edges: edges, keeping: keeping, results: results, classText: classText,
      margins: margins, description: description)
    try await edit.draw { _ in nil }
  }
}
