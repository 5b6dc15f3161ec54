import ArgumentParser

/// The root of the command line.
struct RootCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mvar",
    abstract: "Generates pictures with M-VAR and VAR models.",
    discussion: """
      Published checkpoints are read as they are: .pth, .safetensors, or the index of a sharded \
      one. Whatever a model needs to know about itself is read off its tensors.

        mvar pull m-var-d16
        mvar info d16.pth
        mvar sample --model d16.pth --tokenizer vae_ch160v4096z32.pth \\
          --class 207,macaw,88-92 --count 4 --out pictures/

      A failure is told in one line that begins with "mvar:". The exit code is 0 for success, 2 if \
      the command line is wrong, 1 for every other failure, and 130 after Ctrl-C.
      """,
    version: "mvar \(version)",
    subcommands: [
      InfoCommand.self, SampleCommand.self, ReconstructCommand.self, TokenizeCommand.self,
      DetokenizeCommand.self, ConvertCommand.self, EditCommand.self, ModelsCommand.self,
      PullCommand.self, TrainCommand.self, PlotCommand.self, EvaluateCommand.self,
      ServeCommand.self, BenchCommand.self,
    ])
}

/// The version of the program, which pictures carry.
let version = "0.1.0"

/// One run of the program, from its arguments to its exit status.
enum Program {
  static func run(_ arguments: [String]) async -> ExitStatus {
    do {
      var command = try RootCommand.parseAsRoot(arguments)
      if var command = command as? any AsyncParsableCommand {
        try await command.run()
      } else {
        try command.run()
      }
      return .success
    } catch {
      return report(error)
    }
  }

  private static func report(_ error: any Error) -> ExitStatus {
    let failure = Failure(error)
    do {
      if failure.status == .success { try StandardStreams.writeOutput(failure.message) }
    } catch {
      return report(error)
    }
    if failure.status != .success, !failure.message.isEmpty {
      StandardStreams.writeError("mvar: \(failure.message)")
    }
    return failure.status
  }
}
