import ArgumentParser
import MVAR
import Pictures

struct VaryCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "vary",
    abstract: "Draws variations of a picture.",
    discussion: """
      Keeps the coarse scales of the picture, which hold its composition, and draws the fine ones.

        mvar edit vary --model m-var-d16 --image in.png --strength 0.4 --count 4 \\
          --out variations
        mvar edit vary --model m-var-d16 --image in.png --keep-scales 3 \\
          --class 207 --out other.png
      """)

  @OptionGroup(title: "Checkpoints") var checkpoints: CheckpointFlags
  @OptionGroup(title: "What to edit") var image: EditedImageFlags

  @Option(
    parsing: .unconditional,
    help: """
      The share of the scales that are drawn, 0 (the picture as the tokenizer has it) to 1 (a new one). \
      (default: 0.5)
      """)
  var strength: Double?

  @Option(
    parsing: .unconditional, help: "Instead of --strength: how many of the coarsest scales stay.")
  var keepScales: Int?

  @Option(name: .customLong("class"), parsing: .unconditional, help: "What to draw: a class.")
  var classText: String?

  @OptionGroup(title: "How to draw") var sampling: SamplingFlags
  @OptionGroup(title: "How many") var results: EditedCountFlags
  @OptionGroup(title: "Where to compute") var compute: ComputeFlags
  @OptionGroup(title: "What to write") var output: EditOutputFlags

  func validate() throws {
    if let strength {
      guard keepScales == nil else {
        throw ValidationError("--strength and --keep-scales say the same in two ways; name one")
      }
      do { _ = try ScaleSchedule.px256.keptScales(strength: strength) } catch {
        throw ValidationError(error.description)
      }
    }
    if let keepScales, keepScales < 0 {
      throw ValidationError("keep-scales is \(keepScales); use 0 or more")
    }
  }

  func run() async throws {
    let session = EditSession(
      checkpoints: checkpoints, sampling: sampling, compute: compute, output: output)
    let picture = try Picture(contentsOf: image.image)
    let files = try await session.files()
    let kept = try keptScales(files.configuration.schedule)
    let chosen = try EditedClass(
      classText, of: files.configuration, seed: results.seed)
    let edited = try EditedPicture(
      picture, mask: .everything(width: picture.width, height: picture.height), fit: image.fit,
      edges: .half, files)
    let keeping = KeepingFlags.none
    edited.explain(image.image, keeping, session.console)
    var description = EditDescription("vary")
    description.add(image)
    (description.strength, description.keptScales) = (strength, kept)
    let (fitted, described) = (edited.canvas.fitted, description)
    try await session.draw(
      results.seeds.map { seed in
        EditJob(
          work: .edit(
            EditRequest(
              picture: fitted, mask: edited.fittedMask, label: chosen.label, seed: seed,
              keptScales: kept)),
          stem: "\(Files.stem(of: image.image))-vary-seed\(seed)", className: chosen.name,
          description: described)
      }, files, sources: [image.image], finish: edited.finish(keeping))
  }

  private func keptScales(_ schedule: ScaleSchedule) throws -> Int {
    guard let keepScales else { return try schedule.keptScales(strength: strength ?? 0.5) }
    guard keepScales <= schedule.count else {
      throw UsageError("keep-scales is \(keepScales), and this model has \(schedule.count) scales")
    }
    return keepScales
  }
}

extension KeepingFlags {
  /// Nothing is put back.
  fileprivate static var none: KeepingFlags { try! KeepingFlags.parse([]) }
}
