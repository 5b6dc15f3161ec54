import ArgumentParser
import MVAR

struct EditClassCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "class",
    abstract: "Puts another class into a box.",
    discussion: """
        mvar edit class --model m-var-d16 --image in.png --box 40,40,200,220 \\
          --class tabby --out out.png

      The box is left,top,right,bottom in the picture's pixels, counted from its upper left corner; \
      right and bottom are the first pixels outside.
      """)

  @OptionGroup(title: "Checkpoints") var checkpoints: CheckpointFlags
  @OptionGroup(title: "What to edit") var image: EditedImageFlags

  @Option(
    parsing: .unconditional, help: "The region: left,top,right,bottom in pixels.",
    transform: PixelBox.init(parsing:))
  var box: PixelBox

  @Option(name: .customLong("class"), parsing: .unconditional, help: "What to draw: a class.")
  var classText: String

  @OptionGroup(title: "The region's edge") var edges: EdgeFlags
  @OptionGroup(title: "The rest of the picture") var keeping: KeepingFlags
  @OptionGroup(title: "How to draw") var sampling: SamplingFlags
  @OptionGroup(title: "How many") var results: EditedCountFlags
  @OptionGroup(title: "Where to compute") var compute: ComputeFlags
  @OptionGroup(title: "What to write") var output: EditOutputFlags

  func run() async throws {
    var description = EditDescription("class")
    description.box = box
    let edit = RegionEdit(
      session: EditSession(
        checkpoints: checkpoints, sampling: sampling, compute: compute, output: output),
      image: image, edges: edges, keeping: keeping, results: results, classText: classText,
      description: description)
    try await edit.draw { picture in
      do { return try EditMask(width: picture.width, height: picture.height, box: box) } catch {
        throw CommandError("\(image.image): \(error)")
      }
    }
  }
}

extension PixelBox {
  init(parsing text: String) throws {
    let numbers = text.split(separator: ",", omittingEmptySubsequences: false).map {
      Int($0.filter { $0 != " " })
    }
    guard numbers.count == 4, !numbers.contains(nil) else {
      throw ValidationError(
        "write four whole numbers, left,top,right,bottom, such as 40,40,200,220")
    }
    self.init(left: numbers[0]!, top: numbers[1]!, right: numbers[2]!, bottom: numbers[3]!)
  }
}
