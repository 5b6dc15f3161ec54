import ArgumentParser
import ModelHub

struct PullCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pull",
    abstract: "Fetches models by name.",
    discussion: """
        mvar pull m-var-d16
        mvar pull OliverRen/M-VAR/d20.pth
        mvar pull owner/name@v1.0/folder/model.safetensors

      A known model brings its tokenizer along. The files go to Hugging Face's cache, where its own \
      tools find them too. What is cut short, also by Ctrl-C, goes on where it stopped; every file is \
      checked by the digest that the server names. A file that is here is compared with the server's, \
      and fetched again only if that has changed.

      HF_HOME or HF_HUB_CACHE say where files are kept, HF_ENDPOINT where they come from, HF_TOKEN \
      opens what is private; with HF_HUB_OFFLINE=1 nothing is fetched.
      """)

  @Argument(help: "Known names, as `mvar models` lists them, or owner/name[@revision][/file].")
  var names: [String]

  @Flag(inversion: .prefixedNo, help: "Fetch the tokenizer that goes with a model too.")
  var tokenizer = true

  @Flag(help: "Write an array of records instead of lines.")
  var json = false

  @Flag(help: "Show no progress and no summary.")
  var quiet = false

  func run() async throws {
    let console = Console(isQuiet: quiet, outputIsRecord: json)
    let hub = ModelHub(try HubSettings())
    var files: [HubFile] = []
    for name in names { files += try await self.files(name, hub).filter { !files.contains($0) } }
    var records: [PulledRecord] = []
    for file in files {
      for pulled in try await PullRun(hub: hub, console: console).pull(file) {
        records.append(PulledRecord(pulled))
        try console.result(
          "\(pulled.file): \(pulled.path) (\(Quantity.bytes(pulled.size))"
            + (pulled.origin == .fetched ? ")" : ", was here)"))
      }
    }
    if json { try console.record(Record.text(records)) }
  }

  private func files(_ text: String, _ hub: ModelHub) async throws -> [HubFile] {
    if let known = ModelCatalogue.named(text) {
      let others = tokenizer ? [known.tokenizer].compactMap { $0?.file } : []
      return [known.file] + others
    }
    guard text.contains("/") else {
      throw CommandError(
        "\(text) is no known model; `mvar models` lists those that are, and others go by owner/name"
      )
    }
    let name = try HubName(parsing: text)
    if let file = name.file { return [file] }
    let listed = try await hub.listedCheckpoints(name)
    return [listed.model] + (tokenizer ? [listed.tokenizer].compactMap { $0 } : [])
  }
}

/// The record of one file.
private struct PulledRecord: Encodable {
  let file: String
  let path: String
  let bytes: Int
  let wasHere: Bool
  let isChecked: Bool

  init(_ pulled: ModelHub.Pulled) {
    (file, path, bytes) = (pulled.file.description, pulled.path, pulled.size)
    (wasHere, isChecked) = (pulled.origin != .fetched, pulled.isChecked)
  }
}
