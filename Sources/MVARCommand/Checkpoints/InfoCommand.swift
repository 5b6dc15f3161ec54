import ArgumentParser
import MVAR

struct InfoCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "info",
    abstract: "Tells what a checkpoint is.",
    discussion: """
      Reads the header only, so a file of many gigabytes answers at once.

        mvar info d16.pth vae_ch160v4096z32.pth
        mvar info --json d16.safetensors
      """)

  @Argument(
    help: "Checkpoints: .pth, .safetensors or .safetensors.index.json, or names of models.")
  var files: [String]

  @Flag(help: "Write an array of records instead of tables.")
  var json = false

  func run() async throws {
    // Nothing is computed, so libtorch's CUDA half can stay closed.
    try ComputeOptions(place: .cpu).prepare()
    let console = Console(isQuiet: false)
    let found = try await ModelSource(console: console, isConsenting: false).find(files)
    let summaries = try found.map { try CheckpointSummary(Checkpoint($0.path)) }
    try console.record(
      json
        ? try Record.text(summaries)
        : summaries.map(SummaryTable.init).map(\.text).joined(separator: "\n\n"))
  }
}
