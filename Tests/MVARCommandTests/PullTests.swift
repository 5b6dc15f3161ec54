import Foundation
import MVAR
import ModelHubTestSupport
import Pictures
import Testing
import TorchTestSupport

extension CommandTests {
  /// Models by name, from a hub on this machine.
  @Suite struct PullTests {
    let folder: TemporaryFolder
    private static let model = "OliverRen/M-VAR/d16.pth"
    private static let tokenizer = "FoundationVision/var/vae_ch160v4096z32.pth"

    init() throws { folder = try TemporaryFolder() }

    /// A hub with small models under the published names.
    private func hub(storage: @escaping LocalHub.Override = { _, _ in nil }) throws -> LocalHub {
      func bytes(_ path: String) throws -> [UInt8] {
        Array(try Data(contentsOf: URL(filePath: path)))
      }
      let files = [
        Self.model: try bytes(Golden.mvar64.modelFile),
        Self.tokenizer: try bytes(Golden.tokenizerFile),
      ]
      return LocalHub(files, large: Set(files.keys), storage: storage)
    }

    private func line(_ endpoint: String, offline: Bool = false) -> String {
      "HF_HOME='\(folder.file("home"))' HF_ENDPOINT='\(endpoint)' HF_TOKEN=hf_secret "
        + "HF_HUB_OFFLINE=\(offline ? 1 : 0) exec \"$0\" \"$@\""
    }

    private func run(_ hub: LocalHub?, _ arguments: [String], offline: Bool = false) throws -> Mvar
    {
      // Nothing listens at the discard port.
      try Mvar.shell(
        line(hub?.address ?? "http://127.0.0.1:9", offline: offline), arguments, in: folder)
    }

    private func sampling(_ more: String...) -> [String] {
      ["sample", "--model", "m-var-d16", "--class", "1", "--out", "out", "--quiet"] + Mvar.exact
        + more
    }

    @Test func aModelIsPulledWithItsTokenizerAndThenUsed() throws {
      let hub = try hub()
      let pulled = try run(hub, ["pull", "m-var-d16"]).expectSuccess()
      let lines = pulled.output.split(separator: "\n")
      #expect(lines.count == 2)
      #expect(lines[0].hasPrefix("\(Self.model): ") && lines[1].hasPrefix("\(Self.tokenizer): "))
      #expect(!pulled.errors.contains("hf_secret"))
      let again = try run(hub, ["pull", "m-var-d16"]).expectSuccess()
      #expect(again.output.contains("was here") && hub.storage.requests.count == 2)
      hub.stop()
      // Used without a look at the network.
      try run(nil, sampling()).expectSuccess()
      try run(nil, ["info", "m-var-d16", "OliverRen/M-VAR"], offline: true).expectSuccess()
      let texts = try PictureMetadata(contentsOf: folder.file("out/0000-class1-seed0.png"))
      #expect(texts["Model"] == "d16.pth" && texts["Tokenizer"] == "vae_ch160v4096z32.pth")
    }

    @Test func whatIsNotHereIsFetchedOnlyOnceSomebodyAgreed() throws {
      let hub = try hub()
      try run(hub, sampling()).expectFailure(
        1, ["m-var-d16 is not here", "mvar pull m-var-d16", "--yes"])
      #expect(hub.requests.isEmpty)
      try run(hub, sampling("--yes")).expectSuccess()
      #expect(hub.storage.requests.count == 2)
      #expect(try folder.contents == ["home", "out"])
    }

    @Test func namesAreExplained() throws {
      let hub = try hub()
      try run(hub, ["sample", "--model", "mvar-d16"]).expectFailure(
        1, ["mvar-d16 is neither a file", "did you mean m-var-d16?", "mvar models"])
      try run(hub, ["pull", "d99"]).expectFailure(1, ["d99 is no known model"])
      try run(hub, ["pull", "a/b/../c"]).expectFailure(1, ["../c", "no path"])
      try run(hub, ["pull", "nobody/nothing/x.pth"]).expectFailure(1, ["nobody/nothing"])
      try run(hub, ["pull", "\(Self.model)x"]).expectFailure(1, ["d16.pthx", "mvar models"])
      try run(hub, ["pull", "m-var-d16"], offline: true).expectFailure(1, ["HF_HUB_OFFLINE"])
      try run(nil, ["sample", "--model", "missing.pth"]).expectFailure(1, ["missing.pth"])
      try Mvar.shell(
        "HF_ENDPOINT=nonsense exec \"$0\" \"$@\"", ["models"], in: folder
      ).expectFailure(1, ["HF_ENDPOINT", "nonsense"])
      #expect(try folder.contents.isEmpty)
    }

    @Test func modelsAreListed() throws {
      let hub = try hub()
      let before = try run(hub, ["models"]).expectSuccess()
      for name in ["m-var-d16", "m-var-d32", "var-d36", "var-tokenizer", "MIT"] {
        #expect(before.output.contains(name))
      }
      try run(hub, ["pull", "m-var-d16", "--no-tokenizer", "--quiet"]).expectSuccess()
      struct Models: Decodable {
        struct Model: Decodable {
          let name: String?
          let path: String?
          let bytes: Int?
        }
        let models: [Model]
      }
      let json = try run(nil, ["models", "--json"]).expectSuccess().output
      let models = try JSONDecoder().decode(Models.self, from: Data(json.utf8)).models
      let here = models.filter { $0.path != nil }
      #expect(here.map(\.name) == ["m-var-d16"])
      #expect(here[0].path?.hasSuffix("d16.pth") == true && here[0].bytes ?? 0 > 1000)
    }

    @Test func recordsAreWritten() throws {
      let hub = try hub()
      let run = try run(hub, ["pull", Self.tokenizer, "--json", "--quiet"]).expectSuccess()
      struct Record: Decodable {
        let file: String
        let path: String
        let wasHere: Bool
        let isChecked: Bool
      }
      let records = try JSONDecoder().decode([Record].self, from: Data(run.output.utf8))
      #expect(records.map(\.file) == [Self.tokenizer])
      #expect(records[0].isChecked && !records[0].wasHere)
      #expect(
        try Data(contentsOf: URL(filePath: records[0].path))
          == Data(contentsOf: URL(filePath: Golden.tokenizerFile)))
      #expect(run.errors.isEmpty)
    }

    /// Ctrl-C keeps what has come, and the next run goes on from there.
    @Test func controlCKeepsWhatHasCome() throws {
      let hub = try hub(storage: { request, number in
        guard number == 0 else { return nil }
        let bytes = Array(FileManager.default.contents(atPath: Golden.mvar64.modelFile)!)
        var reply = LocalHub.content(bytes, of: request)
        reply.pause = (100_000, 20)
        return reply
      })
      let running = try Mvar.Running(
        "/bin/sh", ["-c", line(hub.address), Mvar.path, "pull", "m-var-d16"], in: folder)
      let blobs = folder.file("home/hub/models--OliverRen--M-VAR/blobs")
      func partial() -> Int {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: blobs)) ?? []
        let sizes = names.map { FileManager.default.contents(atPath: "\(blobs)/\($0)")?.count ?? 0 }
        return sizes.first ?? 0
      }
      for _ in 0..<600 where partial() < 100_000 { usleep(50_000) }
      kill(running.processIdentifier, SIGINT)
      let run = try running.finish()
      #expect(run.status == 130)
      #expect(run.errors.contains("100.0 kB of \(Self.model) are kept"))
      #expect(partial() == 100_000)
      let again = try self.run(hub, ["pull", "m-var-d16", "--no-tokenizer"]).expectSuccess()
      #expect(again.errors.contains("going on after 100.0 kB"))
      #expect(hub.storage.requests.map(\.rangeStart) == [nil, 100_000])
    }
  }
}
