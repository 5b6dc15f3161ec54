import ArgumentParser
import Foundation
import Logging
import MVAR
import MVARServer

struct ServeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve",
    abstract: "Serves pictures to people and programs, over HTTP.",
    discussion: """
      People open the address that it prints: a page where pictures are chosen by class and appear \
      coarse to fine. Programs use an API in the shape of the widely used images API:

        mvar serve --model d16.pth --tokenizer vae_ch160v4096z32.pth --port 8080
        curl http://127.0.0.1:8080/v1/images/generations \\
          -H 'Content-Type: application/json' \\
          -d '{"class": "golden retriever", "n": 2, "seed": 7}'

      /openapi.json describes the API, /metrics is for Prometheus, /healthz and /readyz are for \
      whoever watches over it.

      Requests of different clients share batches, and take turns while they wait. Where the queue \
      is full the answer is 429 and says when to come again.

      Only this machine can reach the server unless --host says otherwise, which needs a token. \
      Clients send it as `Authorization: Bearer …`. Put TLS in front of it where others can listen.

      Ctrl-C finishes what is being drawn; a second one stops at once.
      """)

  @OptionGroup(title: "Checkpoints") var checkpoints: CheckpointFlags
  @OptionGroup(title: "Where to listen") var listening: ListeningFlags
  @OptionGroup(title: "How much to take on") var load: LoadFlags
  @OptionGroup(title: "Where to compute") var compute: ComputeFlags
  @OptionGroup(title: "What to tell") var logs: LogFlags

  func run() async throws {
    var configuration = try listening.configuration()
    load.limit(&configuration)
    configuration.software = "mvar \(version)"
    do { try configuration.validate() } catch { throw UsageError(error.description) }
    try compute.options.prepare()
    let console = Console(isQuiet: logs.quiet)
    let files = try await checkpoints.files(console)
    console.note("loading \(files.model)")
    let generator = try await files.generator(compute.options, edits: true, console)
    let server = try PictureServer(
      engine: GeneratorEngine(generator, name: name(of: files), edits: true),
      scheduler: load.scheduler(for: generator, isLoopback: configuration.isLoopback),
      configuration: configuration, logger: logs.logger())
    try await serve(server, console)
  }

  /// What clients call the model: its name, or its file's without folder and ending.
  private func name(of files: ModelFiles) -> String {
    files.model == checkpoints.model ? Files.stem(of: files.model) : checkpoints.model
  }

  /// Serves until the first signal asks to stop, and finishes then what has begun.
  private func serve(_ server: PictureServer, _ console: Console) async throws {
    // Not a child of this task: a signal cancels this one, and what runs is to be finished.
    let serving = Task {
      try await server.run { address in
        // Nobody to tell if standard output is closed; the server runs all the same.
        try? console.record("serving at \(address)")
      }
    }
    try await withTaskCancellationHandler {
      try await serving.value
    } onCancel: {
      console.note("finishing what is being drawn; Ctrl-C again stops at once")
      Task { await server.stop() }
    }
    console.note("stopped")
  }
}
