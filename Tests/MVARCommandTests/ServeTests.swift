import Foundation
import Pictures
import Testing
import TorchTestSupport

#if canImport(FoundationNetworking)
  import FoundationNetworking
#endif

extension CommandTests {
  @Suite struct ServeTests {
    let folder: TemporaryFolder
    private static let files = [
      "--model", Golden.mvar64.modelFile, "--tokenizer", Golden.tokenizerFile,
    ]

    init() throws { folder = try TemporaryFolder() }

    /// A server that is ready, and its address.
    private func serve(_ flags: [String]) async throws -> (Mvar.Running, URL) {
      let server = try Mvar.Running(
        Mvar.path, ["serve"] + Self.files + Mvar.exact + flags, in: folder)
      let end = ContinuousClock.now + .seconds(120)
      while ContinuousClock.now < end {
        let output = try server.outputSoFar()
        if let match = output.wholeMatch(of: /serving at (http:\S+)\n/) {
          return (server, try #require(URL(string: String(match.output.1))))
        }
        // One that ended instead says why.
        guard kill(server.processIdentifier, 0) == 0 else { break }
        try await Task.sleep(for: .milliseconds(20))
      }
      kill(server.processIdentifier, SIGKILL)
      Issue.record("no server: \(try server.finish().errors)")
      throw CancellationError()
    }

    @Test func drawsWhatSampleDraws() async throws {
      let (server, address) = try await serve(["--port", "0", "--log-json"])
      var request = URLRequest(url: address.appending(path: "v1/images/generations"))
      request.httpMethod = "POST"
      request.setValue("application/json", forHTTPHeaderField: "Content-Type")
      request.httpBody = Data(#"{"class": 3, "seed": 7}"#.utf8)
      let (data, response) = try await URLSession.shared.data(for: request)
      #expect((response as? HTTPURLResponse)?.statusCode == 200)
      struct Answer: Decodable {
        struct Image: Decodable { let b64_json: Data }
        let data: [Image]
      }
      let file = try JSONDecoder().decode(Answer.self, from: data).data[0].b64_json
      kill(server.processIdentifier, SIGINT)
      let run = try server.finish()
      #expect(run.status == 0)
      #expect(run.errors.contains(#""route":"/v1/images/generations""#))
      #expect(run.errors.hasSuffix("mvar: stopped\n"))

      try Mvar.run(
        ["sample"] + Self.files + Mvar.exact
          + ["--class", "3", "--seed", "7", "--out", "sampled", "--quiet"], in: folder
      ).expectSuccess()
      let sampled = try Picture(contentsOf: folder.file("sampled/0000-class3-seed7.png"))
      #expect(try Picture(data: Array(file), name: "served") == sampled)
      let texts = try PictureMetadata(data: Array(file), name: "served")
      #expect(texts["Model"] == "mvar" && texts["Seed"] == "7" && texts["Dtype"] == "float32")
    }

    @Test func aPortThatIsTaken() async throws {
      let (server, address) = try await serve(["--port", "0"])
      let port = String(try #require(address.port))
      let other = try Mvar.run(
        ["serve"] + Self.files + Mvar.exact + ["--port", port, "--quiet"], in: folder)
      other.expectFailure(1, ["127.0.0.1:\(port)", "--port"])
      kill(server.processIdentifier, SIGTERM)
      #expect(try server.finish().status == 0)
    }

    @Test(arguments: [
      (["--host", "0.0.0.0"], ["0.0.0.0", "--token"]),
      (["--port", "65536"], ["65536"]),
      (["--token", "short"], ["5", "8"]),
      (["--batch", "0"], ["batch is 0"]),
      (["--timeout", "-1"], ["timeout is -1"]),
    ]) func usage(_ flags: [String], _ parts: [String]) throws {
      try Mvar.run(["serve"] + Self.files + flags, in: folder).expectFailure(2, parts)
    }
  }
}
