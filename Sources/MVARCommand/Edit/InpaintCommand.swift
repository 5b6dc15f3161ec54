import ArgumentParser
import MVAR
import Pictures

struct InpaintCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inpaint",
    abstract: "Draws what a mask covers anew.",
    discussion: """
      The mask is a picture of the same size: white is drawn anew, black stays, grey counts in part.

        mvar edit inpaint --model m-var-d16 --image in.png --mask mask.png \\
          --class 207 --out out.png
        mvar edit inpaint --model m-var-d16 --image in.png --mask mask.png \\
          --count 4 --out results

      Without --class the model draws what fits, as well as it can tell. A small region leaves the \
      coarse scales to the picture, and so much of what was there; a lower --threshold frees them.
      """)

  @OptionGroup(title: "Checkpoints") var checkpoints: CheckpointFlags
  @OptionGroup(title: "What to edit") var image: EditedImageFlags

  @Option(help: "The mask, of the picture's size: white is drawn anew.")
  var mask: String

  @Flag(help: "Read the mask the other way round: black is drawn anew.")
  var invert = false

  @Option(name: .customLong("class"), parsing: .unconditional, help: "What to draw: a class.")
  var classText: String?

  @OptionGroup(title: "The region's edge") var edges: EdgeFlags
  @OptionGroup(title: "The rest of the picture") var keeping: KeepingFlags
  @OptionGroup(title: "How to draw") var sampling: SamplingFlags
  @OptionGroup(title: "How many") var results: EditedCountFlags
  @OptionGroup(title: "Where to compute") var compute: ComputeFlags
  @OptionGroup(title: "What to write") var output: EditOutputFlags

  func run() async throws {
    var description = EditDescription("inpaint")
    description.mask = mask
    let edit = RegionEdit(
      session: EditSession(
        checkpoints: checkpoints, sampling: sampling, compute: compute, output: output),
      image: image, edges: edges, keeping: keeping, results: results, classText: classText,
      description: description, sources: [mask])
    try await edit.draw { picture in try readMask(for: picture) }
  }

  private func readMask(for picture: Picture) throws -> EditMask {
    let drawn = try Picture(contentsOf: mask)
    guard (drawn.width, drawn.height) == (picture.width, picture.height) else {
      throw CommandError(
        "\(mask) has \(drawn.width) × \(drawn.height) pixels and \(image.image) \(picture.width) × "
          + "\(picture.height); draw the mask at the picture's size")
    }
    let read = EditMask(drawn)
    guard !(invert ? read.inverted : read).isEmpty else {
      let (colour, other) = invert ? ("white", "black") : ("black", "white")
      throw CommandError(
        "\(mask) is all \(colour), so that nothing is drawn; paint \(other) what is to be drawn anew"
          + (read.inverted.isEmpty ? ", or leave --invert out" : ""))
    }
    return invert ? read.inverted : read
  }
}
