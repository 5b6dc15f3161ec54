import Foundation
import ModelHubTestSupport
import Testing

@testable import ModelHub

/// Files that come as they should, whole or in parts.
@Suite struct PullTests {
  private static let digest = LocalHub.sha256(Pulling.bytes)

  @Test func aLargeFileComesFromTheStorage() async throws {
    let pulling = try Pulling()
    let pulled = try await pulling.pull()
    #expect(pulled.origin == .fetched && pulled.isChecked)
    #expect(pulled.size == Pulling.bytes.count)
    let snapshot = "models--owner--models/snapshots/\(LocalHub.commit)/d16.pth"
    #expect(pulled.path == "\(pulling.folder.path)/hub/\(snapshot)")
    #expect(pulling.contents(snapshot) == Pulling.bytes)
    #expect(pulling.blobs == [Self.digest])
    #expect(
      try FileManager.default.destinationOfSymbolicLink(atPath: pulled.path)
        == "../../blobs/\(Self.digest)")
    #expect(pulling.contents("models--owner--models/refs/main") == Array(LocalHub.commit.utf8))
    #expect(pulling.events.first == .started(present: 0, total: Pulling.bytes.count))
    #expect(pulling.events.contains(.received(Pulling.bytes.count)))
    #expect(pulling.events.last == .checking)
  }

  @Test func aSmallFileIsNamedAsGitNamesIt() async throws {
    let pulling = try Pulling()
    let pulled = try await pulling.pull(Pulling.small)
    #expect(pulled.isChecked && pulling.blobs == [LocalHub.gitDigest(Array("{}".utf8))])
    #expect(pulling.blobs == ["9e26dfeeb6e641a33dae4961196235bdb965b21b"])
    #expect(
      try FileManager.default.destinationOfSymbolicLink(atPath: pulled.path)
        .hasPrefix("../../../blobs/"))
    #expect(FileManager.default.contents(atPath: pulled.path) == Data("{}".utf8))
  }

  @Test func theTokenGoesToTheHubAlone() async throws {
    let pulling = try Pulling()
    _ = try await pulling.pull()
    #expect(pulling.hub.requests.map(\.method) == ["HEAD", "GET"])
    #expect(pulling.hub.requests.allSatisfy { $0.headers["authorization"] == "Bearer hf_secret" })
    #expect(pulling.hub.requests.allSatisfy { $0.headers["accept-encoding"] == "identity" })
    #expect(pulling.hub.storage.requests.count == 1)
    #expect(pulling.hub.storage.requests.allSatisfy { $0.headers["authorization"] == nil })
  }

  @Test func withoutATokenNoneIsSent() async throws {
    let pulling = try Pulling()
    _ = try await pulling.pull { $0.token = nil }
    #expect(pulling.hub.requests.allSatisfy { $0.headers["authorization"] == nil })
  }

  @Test func whatIsHereIsNotFetchedAgain() async throws {
    let pulling = try Pulling()
    let first = try await pulling.pull()
    let second = try await pulling.pull()
    #expect(second.path == first.path && second.origin == .current)
    #expect(pulling.hub.requests.map(\.method) == ["HEAD", "GET", "HEAD"])
    // Of one commit nothing can have changed.
    let third = try await pulling.pull("owner/models@\(LocalHub.commit)/d16.pth")
    #expect(third.path == first.path && pulling.hub.requests.count == 3)
  }

  @Test func twoAtOnceFetchOnce() async throws {
    let pulling = try Pulling(storage: { request, _ in
      var reply = LocalHub.content(Pulling.bytes, of: request)
      reply.pause = (1000, 0.4)
      return reply
    })
    async let a = pulling.pull()
    async let b = pulling.pull()
    #expect(try await a.path == b.path)
    #expect(pulling.hub.storage.requests.count == 1)
    #expect(pulling.events.contains(.waiting))
  }

  /// A renamed repository: the answer is elsewhere on the hub, with the token.
  @Test func redirectsOnTheHubKeepTheToken() async throws {
    let pulling = try Pulling(hub: { request, _ in
      request.target.hasPrefix("/old/name")
        ? .init(307, [("Location", "/owner/models" + request.target.dropFirst("/old/name".count))])
        : nil
    })
    let pulled = try await pulling.pull("old/name/sub/config.json")
    #expect(FileManager.default.contents(atPath: pulled.path) == Data("{}".utf8))
    #expect(pulling.hub.requests.count == 4)
    #expect(pulling.hub.requests.allSatisfy { $0.headers["authorization"] != nil })
  }

  // MARK: In parts

  /// Each connection is cut after some bytes; the next goes on from there.
  @Test func cutConnectionsGoOn() async throws {
    let received = Received()
    let pulling = try Pulling(
      received: received,
      storage: { request, _ in
        var reply = LocalHub.content(Pulling.bytes, of: request)
        let end = min((request.rangeStart ?? 0) + 70_000, Pulling.bytes.count)
        reply.cutAfter = 70_000
        reply.beforeCut = { received.wait(for: end) }
        return reply
      })
    let pulled = try await pulling.pull()
    #expect(pulled.isChecked)
    #expect(FileManager.default.contents(atPath: pulled.path) == Data(Pulling.bytes))
    let starts = pulling.hub.storage.requests.map(\.rangeStart)
    #expect(starts == [nil, 70_000, 140_000, 210_000, 280_000])
    #expect(pulling.retries.count == 4)
    #expect(Set(pulling.retries) == ["the connection was cut"])
  }

  /// Cut without a word about the length.
  @Test func aLengthThatIsNotToldIsTheHubs() async throws {
    let received = Received()
    let pulling = try Pulling(
      received: received,
      storage: { request, number in
        var reply = LocalHub.content(Pulling.bytes, of: request)
        reply.tellsLength = false
        if number == 0 {
          reply.cutAfter = 100_000
          reply.beforeCut = { received.wait(for: 100_000) }
        }
        return reply
      })
    _ = try await pulling.pull()
    #expect(pulling.hub.storage.requests.map(\.rangeStart) == [nil, 100_000])
    #expect(pulling.retries == ["the server stopped after 100000 of 300000 bytes"])
  }

  @Test func anEarlierPullIsGoneOnWith() async throws {
    let pulling = try Pulling()
    try pulling.leavePartial(Array(Pulling.bytes.prefix(123_456)))
    let pulled = try await pulling.pull()
    #expect(FileManager.default.contents(atPath: pulled.path) == Data(Pulling.bytes))
    #expect(pulling.hub.storage.requests.map(\.rangeStart) == [123_456])
    #expect(pulling.events.first == .started(present: 123_456, total: 300_000))
  }

  @Test func aPartThatIsAllOfItIsOnlyChecked() async throws {
    let pulling = try Pulling()
    try pulling.leavePartial(Pulling.bytes)
    let pulled = try await pulling.pull()
    #expect(pulled.origin == .fetched && pulling.hub.storage.requests.isEmpty)
    #expect(pulling.blobs == [Self.digest])
  }

  /// What was left is of something else, or too much: the digest or the length tells.
  @Test(arguments: [[UInt8](repeating: 9, count: 5000), [UInt8](repeating: 9, count: 300_001)])
  func aPartThatIsWrongIsFetchedAgain(_ wrong: [UInt8]) async throws {
    let pulling = try Pulling()
    try pulling.leavePartial(wrong)
    let pulled = try await pulling.pull()
    #expect(FileManager.default.contents(atPath: pulled.path) == Data(Pulling.bytes))
    #expect(pulling.blobs == [Self.digest])
  }

  @Test func aServerWithoutRangesStartsAgain() async throws {
    let received = Received()
    let pulling = try Pulling(
      received: received,
      storage: { _, number in
        var reply = LocalServer.Reply(200, [], Pulling.bytes)
        if number == 0 {
          reply.cutAfter = 50_000
          reply.beforeCut = { received.wait(for: 50_000) }
        }
        return reply
      })
    let pulled = try await pulling.pull()
    #expect(FileManager.default.contents(atPath: pulled.path) == Data(Pulling.bytes))
    #expect(pulling.hub.storage.requests.map(\.rangeStart) == [nil, 50_000])
  }

  @Test func cancellingKeepsWhatHasCome() async throws {
    let pulling = try Pulling(storage: { request, number in
      var reply = LocalHub.content(Pulling.bytes, of: request)
      if number == 0 { reply.pause = (90_000, 60) }
      return reply
    })
    let task = Task { try await pulling.pull() }
    let isHalf = { pulling.events.contains(.received(90_000)) }
    for _ in 0..<500 where !isHalf() { try await Task.sleep(for: .milliseconds(10)) }
    #expect(isHalf())
    task.cancel()
    await #expect(throws: CancellationError.self) { try await task.value }
    #expect(pulling.blobs == ["\(Self.digest).incomplete"])
    #expect(HubCache(pulling.settings.cacheFolder).entries().isEmpty)
    let pulled = try await pulling.pull()
    #expect(FileManager.default.contents(atPath: pulled.path) == Data(Pulling.bytes))
    #expect(pulling.hub.storage.requests.map(\.rangeStart) == [nil, 90_000])
  }

  // MARK: Without a server

  @Test func offlineUsesWhatIsHere() async throws {
    let pulling = try Pulling()
    let first = try await pulling.pull()
    let second = try await pulling.pull { $0.isOffline = true }
    #expect(second.path == first.path && second.origin == .unasked)
    #expect(pulling.hub.requests.count == 2)
  }

  @Test func offlineFetchesNothing() async throws {
    let pulling = try Pulling()
    await pulling.expectFailure(.offline, "owner/models/d16.pth", "HF_HUB_OFFLINE") {
      $0.isOffline = true
    }
    #expect(pulling.hub.requests.isEmpty)
  }

  @Test func anUnreachableServerLeavesWhatIsHere() async throws {
    let pulling = try Pulling()
    let first = try await pulling.pull()
    pulling.hub.stop()
    let second = try await pulling.pull()
    #expect(second.path == first.path && second.origin == .unasked)
  }

  @Test func anUnreachableServerIsNamed() async throws {
    let pulling = try Pulling()
    pulling.hub.stop()
    await pulling.expectFailure(.connection, "owner/models/d16.pth", "refused", "network")
    #expect(pulling.retries.count == pulling.settings.retries.attempts - 1)
  }

  // MARK: Several files

  @Test func shardsComeWithTheirIndex() async throws {
    let index =
      #"{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors", "c": "m-1.safetensors"}}"#
    let pulling = try Pulling(files: [
      "owner/models/x/m.safetensors.index.json": Array(index.utf8),
      "owner/models/x/m-1.safetensors": [1], "owner/models/x/m-2.safetensors": [2],
    ])
    let pulled = try await ModelHub(pulling.settings).pullCheckpoint(
      Pulling.file("owner/models/x/m.safetensors.index.json"))
    #expect(
      pulled.map(\.file.shortName) == [
        "m.safetensors.index.json", "m-1.safetensors", "m-2.safetensors",
      ])
    let folders = Set(pulled.map { $0.path.dropLast($0.file.shortName.count) })
    #expect(folders.count == 1)
  }

  @Test(arguments: [
    #"{"weight_map": {"a": "../m-1.safetensors"}}"#, #"{"weight_map": {"a": "/etc/passwd"}}"#,
    #"{"weight_map": {"a": ".."}}"#, #"{"weight_map": {"a": ""}}"#, "{}", "",
  ]) func anIndexLeadsNowhereElse(_ index: String) async throws {
    let name = "owner/models/x/m.safetensors.index.json"
    let pulling = try Pulling(files: [name: Array(index.utf8)])
    await #expect(throws: HubError.self) {
      try await ModelHub(pulling.settings).pullCheckpoint(Pulling.file(name))
    }
    #expect(pulling.hub.requests.count <= 2)
  }

  @Test func whatIsHereIsListed() async throws {
    let pulling = try Pulling()
    _ = try await pulling.pull()
    _ = try await pulling.pull(Pulling.small)
    try pulling.leavePartial([1, 2, 3])
    let cache = HubCache(pulling.settings.cacheFolder)
    #expect(cache.entries().map(\.file.description) == [Pulling.large, Pulling.small])
    #expect(cache.entries().map(\.size) == [300_000, 2])
    let repository = try Pulling.file(Pulling.large).repository
    #expect(cache.partialBytes(of: repository) == 3)
    unlink("\(pulling.repositoryFolder)/blobs/\(Self.digest)")
    #expect(cache.entries().map(\.file.description) == [Pulling.small])
    #expect(cache.path(of: try Pulling.file(Pulling.large)) == nil)
    #expect(HubCache("/nowhere").entries().isEmpty)
  }
}
