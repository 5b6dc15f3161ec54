import ArgumentParser
import MVAR

struct InterpolateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "interpolate",
    abstract: "Goes from one seed's picture to another's.",
    discussion: """
        mvar edit interpolate --model m-var-d16 --class 207 --from 1 --to 2 \\
          --steps 8 --out between --grid

      Tokens cannot be halved, but the random numbers that draw them can be turned into each other on a \
      circle, on which they stay as random as a seed's own. So every picture on the way is one that the \
      model draws, the first and the last are the two seeds' own, and neighbours share more tokens the \
      more steps there are. A coarse token that changes takes all finer ones along: expect steps, not a \
      film.
      """)

  @OptionGroup(title: "Checkpoints") var checkpoints: CheckpointFlags

  @Option(name: .customLong("class"), parsing: .unconditional, help: "What to draw: a class.")
  var classText: String

  @Option(parsing: .unconditional, help: "The first picture's seed.") var from: UInt64
  @Option(parsing: .unconditional, help: "The last picture's seed.") var to: UInt64
  @Option(parsing: .unconditional, help: "How many pictures, both ends among them.") var steps = 8

  @OptionGroup(title: "How to draw") var sampling: SamplingFlags
  @OptionGroup(title: "Where to compute") var compute: ComputeFlags
  @OptionGroup(title: "What to write") var output: EditOutputFlags

  func validate() throws {
    guard (2...10_000).contains(steps) else {
      throw ValidationError("steps is \(steps); use 2 (both ends) to 10000")
    }
  }

  func run() async throws {
    let session = EditSession(
      checkpoints: checkpoints, sampling: sampling, compute: compute, output: output)
    let files = try await session.files()
    let chosen = try EditedClass(classText, of: files.configuration, seed: from)
    let requests = InterpolationRequest.steps(steps, label: chosen.label!, from: from, to: to)
    try await session.draw(
      requests.enumerated().map { index, request in
        var description = EditDescription("interpolate")
        (description.from, description.to) = (from, to)
        description.position = request.position
        let number = String(index)
        let zeros = String(repeating: "0", count: max(4 - number.count, 0))
        return EditJob(
          work: .between(request),
          stem: "\(zeros)\(number)-class\(request.label)-seed\(from)-to\(to)",
          className: chosen.name, description: description)
      }, files)
  }
}
