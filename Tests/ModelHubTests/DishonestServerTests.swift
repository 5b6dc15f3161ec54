import Foundation
import ModelHubTestSupport
import Testing

@testable import ModelHub

/// Servers that refuse, fail, and lie.
@Suite struct DishonestServerTests {
  /// A hub that answers every request in one way.
  private func hub(_ status: Int, _ headers: [(String, String)] = []) throws -> Pulling {
    try Pulling(hub: { _, _ in .init(status, headers) })
  }

  private static let commit = ("X-Repo-Commit", LocalHub.commit)

  // MARK: Bytes

  @Test func wrongBytesAreNeverNamed() async throws {
    let wrong = Pulling.bytes.map { $0 ^ 1 }
    let pulling = try Pulling(storage: { request, _ in LocalHub.content(wrong, of: request) })
    await pulling.expectFailure(
      .damaged, "d16.pth", LocalHub.sha256(Pulling.bytes), LocalHub.sha256(wrong))
    #expect(pulling.hub.storage.requests.map(\.rangeStart) == [nil, nil])
    #expect(pulling.blobs.isEmpty)
  }

  @Test func bytesThatAreWrongOnceAreFetchedAgain() async throws {
    let pulling = try Pulling(storage: { request, number in
      number == 0 ? LocalHub.content(Pulling.bytes.map { $0 ^ 1 }, of: request) : nil
    })
    let pulled = try await pulling.pull()
    #expect(pulled.isChecked)
    #expect(FileManager.default.contents(atPath: pulled.path) == Data(Pulling.bytes))
  }

  @Test func wrongBytesOfASmallFile() async throws {
    let pulling = try Pulling(hub: { request, _ in
      request.method == "GET" ? .init(200, [], Array("[]".utf8)) : nil
    })
    await pulling.expectFailure(.damaged, "config.json", from: Pulling.small)
  }

  // MARK: Lengths

  @Test(arguments: [true, false]) func moreThanWasPromised(tellsLength: Bool) async throws {
    let pulling = try Pulling(storage: { _, _ in
      var reply = LocalServer.Reply(200, [], Pulling.bytes + [0])
      reply.tellsLength = tellsLength
      return reply
    })
    await pulling.expectFailure(.server, "d16.pth", "more than the 300000 bytes")
  }

  @Test func lessThanWasPromised() async throws {
    let pulling = try Pulling(storage: { request, _ in
      LocalHub.content(Array(Pulling.bytes.dropLast()), of: request)
    })
    await pulling.expectFailure(.connection, "d16.pth")
    #expect(pulling.hub.storage.requests.count == pulling.settings.retries.attempts)
  }

  /// The header says more than comes: the connection counts as cut.
  @Test func aLengthThatIsTooLong() async throws {
    let received = Received()
    let pulling = try Pulling(
      received: received,
      storage: { request, number in
        guard number == 0 else { return nil }
        let bytes = Array(Pulling.bytes.prefix(200_000))
        var reply = LocalServer.Reply(200, [("Content-Length", "300000")], bytes)
        reply.beforeCut = { received.wait(for: 200_000) }
        return reply
      })
    let pulled = try await pulling.pull()
    #expect(FileManager.default.contents(atPath: pulled.path) == Data(Pulling.bytes))
    #expect(pulling.hub.storage.requests.map(\.rangeStart) == [nil, 200_000])
  }

  @Test func aRangeThatBeginsElsewhere() async throws {
    let pulling = try Pulling(storage: { request, number in
      guard request.rangeStart != nil else { return nil }
      return .init(206, [("Content-Range", "bytes 0-299999/300000")], Pulling.bytes)
    })
    try pulling.leavePartial(Array(Pulling.bytes.prefix(1000)))
    let pulled = try await pulling.pull()
    #expect(FileManager.default.contents(atPath: pulled.path) == Data(Pulling.bytes))
    #expect(pulling.hub.storage.requests.map(\.rangeStart) == [1000, nil])
  }

  @Test func aRangeThatIsRefused() async throws {
    let pulling = try Pulling(storage: { request, _ in
      request.rangeStart == nil ? nil : .init(416, [("Content-Range", "bytes */500")])
    })
    try pulling.leavePartial(Array(Pulling.bytes.prefix(1000)))
    let pulled = try await pulling.pull()
    #expect(FileManager.default.contents(atPath: pulled.path) == Data(Pulling.bytes))
  }

  // MARK: Refusals

  @Test func aRepositoryThatIsNotThere() async throws {
    let pulling = try Pulling()
    await pulling.expectFailure(
      .refused, "nobody/nothing", "your token", from: "nobody/nothing/d16.pth")
    await pulling.expectFailure(.refused, "set HF_TOKEN", from: "nobody/nothing/d16.pth") {
      $0.token = nil
    }
  }

  @Test func aFileOrARevisionThatIsNotThere() async throws {
    let pulling = try Pulling()
    await pulling.expectFailure(
      .notFound, "owner/models/d17.pth", "mvar models", from: "owner/models/d17.pth")
    await pulling.expectFailure(
      .notFound, "no such revision", "@v9", from: "owner/models@v9/d16.pth")
  }

  @Test(
    arguments: [
      (401, [], HubError.Kind.refused, "token"), (403, [], .refused, "403"),
      (403, [("X-Error-Code", "GatedRepo")], .refused, "agree to its terms"),
      (404, [], .notFound, "404"), (410, [], .notFound, "410"), (400, [], .server, "400"),
      (418, [("X-Error-Message", "short and stout")], .server, "short and stout"),
    ] as [(Int, [(String, String)], HubError.Kind, String)]) func refusalsAreFinal(
      _ status: Int, _ headers: [(String, String)], _ kind: HubError.Kind, _ part: String
    ) async throws
  {
    let pulling = try hub(status, headers)
    await pulling.expectFailure(kind, "owner/models", part)
    #expect(pulling.hub.requests.count == 1)
  }

  // MARK: Failures that may pass

  @Test(arguments: [408, 429, 500, 502, 503, 504]) func whatMayPassIsTriedAgain(_ status: Int)
    async throws
  {
    let pulling = try Pulling(hub: { _, number in number < 3 ? .init(status) : nil })
    _ = try await pulling.pull()
    #expect(pulling.retries.count == 3)
    #expect(pulling.retries.allSatisfy { $0.contains("\(status)") })
  }

  @Test func whatDoesNotPassIsAnError() async throws {
    let pulling = try hub(503)
    await pulling.expectFailure(.connection, "owner/models/d16.pth", "503", "try again")
    #expect(pulling.hub.requests.count == pulling.settings.retries.attempts)
  }

  @Test func aServerMayAskToWait() async throws {
    let pulling = try Pulling(hub: { _, number in
      number == 0 ? .init(429, [("Retry-After", "3600")]) : nil
    })
    _ = try await pulling.pull { $0.retries.longestAsked = .milliseconds(20) }
    let waits = pulling.events.compactMap {
      if case .retrying(_, let wait) = $0 { wait } else { nil }
    }
    #expect(waits == [.milliseconds(20)])
  }

  @Test(arguments: ["-5", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"]) func oddWaits(_ text: String)
    async throws
  {
    let pulling = try Pulling(hub: { _, number in
      number == 0 ? .init(503, [("Retry-After", text)]) : nil
    })
    _ = try await pulling.pull()
    #expect(pulling.retries.count == 1)
  }

  /// An address that expired: the hub gives a new one.
  @Test func theStorageMayRefuseOnce() async throws {
    let pulling = try Pulling(storage: { _, number in number == 0 ? .init(403) : nil })
    _ = try await pulling.pull()
    #expect(pulling.hub.requests.map(\.method) == ["HEAD", "GET", "GET"])
  }

  @Test func aServerThatFallsSilent() async throws {
    let pulling = try Pulling(storage: { request, number in
      var reply = LocalHub.content(Pulling.bytes, of: request)
      if number == 0 { reply.pause = (150_000, 20) }
      return reply
    })
    let pulled = try await pulling.pull { $0.timeout = .seconds(2) }
    #expect(FileManager.default.contents(atPath: pulled.path) == Data(Pulling.bytes))
    #expect(Set(pulling.retries) == ["the server has fallen silent"])
  }

  // MARK: What is no hub

  @Test func withoutAnETagNothingIsFetched() async throws {
    let pulling = try hub(200, [Self.commit, ("Content-Length", "5")])
    await pulling.expectFailure(.server, "no ETag", "HF_ENDPOINT")
    #expect(pulling.hub.requests.map(\.method) == ["HEAD"])
  }

  @Test(arguments: ["", "main", "../../x"]) func withoutACommitNothingIsFetched(_ commit: String)
    async throws
  {
    let pulling = try hub(200, [("X-Repo-Commit", commit), ("ETag", "\"abc\"")])
    await pulling.expectFailure(.server, "no commit", "HF_ENDPOINT")
  }

  @Test(arguments: [
    "\"../../../../escape\"", "\"..\"", "\".hidden\"", "\"a/b\"", "\"x.incomplete\"",
    "\"\(String(repeating: "a", count: 300))\"",
  ]) func anETagNamesNoOtherPlace(_ tag: String) async throws {
    let pulling = try hub(200, [Self.commit, ("ETag", tag), ("Content-Length", "5")])
    await pulling.expectFailure(.server, "ETag")
    #expect(try pulling.folder.contents.isEmpty)
  }

  /// A mirror that names its files by other tags: only the length can be checked, and that is told.
  @Test(arguments: ["\"v7\"", "W/\"v7\"", "v7"]) func otherTagsAreTakenUnchecked(_ tag: String)
    async throws
  {
    let pulling = try Pulling(hub: { request, _ in
      LocalHub.content([1, 2, 3], of: request, headers: [Self.commit, ("ETag", tag)])
    })
    let pulled = try await pulling.pull()
    #expect(!pulled.isChecked && pulled.size == 3 && pulling.blobs == ["v7"])
  }

  @Test func aSizeThatIsNotToldIsWhatComes() async throws {
    let bytes: [UInt8] = [1, 2, 3]
    let pulling = try Pulling(hub: { request, _ in
      var reply = LocalServer.Reply(
        200, [Self.commit, ("ETag", "\"\(LocalHub.gitDigest(bytes))\"")], bytes)
      reply.tellsLength = false
      return reply
    })
    let pulled = try await pulling.pull()
    #expect(pulled.isChecked && pulled.size == 3)
    #expect(pulling.events.first == .started(present: 0, total: nil))
  }

  @Test func redirectsThatNeverEnd() async throws {
    let pulling = try Pulling(hub: { request, _ in .init(302, [("Location", request.target)]) })
    await pulling.expectFailure(.server, "redirected")
    #expect(pulling.hub.requests.count == 10)
  }

  @Test(arguments: ["file:///etc/passwd", "gopher://x/", "http://", ""])
  func redirectsToWhatIsNoWeb(_ target: String) async throws {
    let pulling = try hub(302, [("Location", target)])
    let error = await #expect(throws: HubError.self) { try await pulling.pull() }
    #expect(error?.kind == .server)
  }

  // MARK: The cache

  @Test func aCacheThatCannotBeWritten() async throws {
    let pulling = try Pulling()
    let file = try pulling.folder.write(Data(), to: "file")
    let error = await #expect(throws: HubError.self) {
      try await pulling.pull { $0.cacheFolder = "\(file)/hub" }
    }
    #expect(error?.kind == .storage)
    #expect(error?.description.contains("HF_HOME") == true)
  }

  @Test func aFileThatIsLargerThanTheDisk() async throws {
    let digest = String(repeating: "a", count: 64)
    let pulling = try hub(
      302,
      [
        Self.commit, ("X-Linked-Etag", "\"\(digest)\""),
        ("X-Linked-Size", "4611686018427387904"), ("Location", "http://127.0.0.1:9/"),
      ])
    await pulling.expectFailure(.storage, "4611686018427387904", "make room")
  }

  // MARK: Lists

  @Test func listsComeInPages() async throws {
    let pulling = try Pulling(hub: { request, _ in
      guard request.target.hasPrefix("/api/models/owner/models/tree/main") else {
        return .init(200, [], Array(#"{"tags": ["x", "license:mit"]}"#.utf8))
      }
      if request.target.contains("cursor=2") {
        let page = #"[{"type":"file","path":"b.pth","size":7,"lfs":{"oid":"x"}}]"#
        return .init(200, [], Array(page.utf8))
      }
      let page = #"[{"type":"directory","path":"sub"},{"type":"file","path":"a.pth","size":5}]"#
      let next = "</api/models/owner/models/tree/main?cursor=2>; rel=\"next\""
      return .init(200, [("Link", next)], Array(page.utf8))
    })
    let hub = ModelHub(pulling.settings)
    let repository = try HubRepository(owner: "owner", name: "models")
    let files = try await hub.files(of: repository)
    #expect(files == [.init(path: "a.pth", size: 5), .init(path: "b.pth", size: 7)])
    #expect(try await hub.licence(of: repository) == "mit")
  }

  @Test(arguments: ["<html>", "{}", ""]) func listsThatAreNone(_ text: String) async throws {
    let pulling = try Pulling(hub: { _, _ in .init(200, [], Array(text.utf8)) })
    let error = await #expect(throws: HubError.self) {
      try await ModelHub(pulling.settings).files(of: HubRepository(owner: "owner", name: "models"))
    }
    #expect(error?.kind == .server && error?.description.contains("HF_ENDPOINT") == true)
  }

  /// The next page is looked for on the hub only.
  @Test func pagesElsewhereAreNotAsked() async throws {
    let pulling = try Pulling(hub: { _, _ in
      .init(
        200, [("Link", "<http://127.0.0.1:9/x>; rel=\"next\"")],
        Array(#"[{"type":"file","path":"a.pth","size":5}]"#.utf8))
    })
    let files = try await ModelHub(pulling.settings).files(
      of: HubRepository(owner: "owner", name: "models"))
    #expect(files.count == 1 && pulling.hub.requests.count == 1)
  }
}
