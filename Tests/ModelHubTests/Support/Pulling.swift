import Foundation
import ModelHubTestSupport
import Synchronization
import Testing

@testable import ModelHub

/// How many bytes a pull has received, for a server to wait for.
final class Received: Sendable {
  private let count = Mutex(0)

  func note(_ count: Int) { self.count.withLock { $0 = count } }

  /// Waits until all of so many have come; a cut connection loses what is still under way.
  func wait(for count: Int) {
    for _ in 0..<2000 where self.count.withLock({ $0 }) < count {
      Thread.sleep(forTimeInterval: 0.005)
    }
  }
}

/// A hub, an empty cache, and what a pull reported.
final class Pulling: Sendable {
  let folder: TemporaryFolder
  let hub: LocalHub
  let settings: HubSettings
  private let received: Received
  private let log = Mutex<[ModelHub.Event]>([])

  /// Of no special content, but each byte tells its place.
  static let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
  static let large = "owner/models/d16.pth"
  static let small = "owner/models/sub/config.json"

  init(
    files: [String: [UInt8]]? = nil, received: Received = Received(),
    hub: @escaping LocalHub.Override = { _, _ in nil },
    storage: @escaping LocalHub.Override = { _, _ in nil }
  ) throws {
    folder = try TemporaryFolder()
    self.received = received
    self.hub = LocalHub(
      files ?? [Self.large: Self.bytes, Self.small: Array("{}".utf8)], large: [Self.large],
      hub: hub, storage: storage)
    var settings = try HubSettings(environment: [
      "HF_HOME": folder.path, "HF_ENDPOINT": self.hub.address, "HF_TOKEN": "hf_secret",
    ])
    settings.retries.first = .milliseconds(1)
    settings.retries.longest = .milliseconds(4)
    settings.timeout = .seconds(20)
    self.settings = settings
  }

  deinit { hub.stop() }

  var events: [ModelHub.Event] { log.withLock { $0 } }

  var retries: [String] {
    events.compactMap { if case .retrying(let reason, _) = $0 { reason } else { nil } }
  }

  func pull(
    _ name: String = Pulling.large, settings change: (inout HubSettings) -> Void = { _ in }
  ) async throws -> ModelHub.Pulled {
    var settings = settings
    change(&settings)
    return try await ModelHub(settings).pull(Self.file(name)) { event in
      self.log.withLock { $0.append(event) }
      if case .received(let count) = event { self.received.note(count) }
    }
  }

  static func file(_ name: String) throws -> HubFile { try #require(HubName(parsing: name).file) }

  /// What stands under a path in the cache.
  func contents(_ path: String) -> [UInt8]? {
    FileManager.default.contents(atPath: "\(folder.path)/hub/\(path)").map(Array.init)
  }

  var repositoryFolder: String { "\(folder.path)/hub/models--owner--models" }

  var blobs: [String] {
    let all = try? FileManager.default.contentsOfDirectory(atPath: "\(repositoryFolder)/blobs")
    return all?.sorted() ?? []
  }

  /// Puts bytes where a pull that was cut short leaves them.
  func leavePartial(_ bytes: [UInt8]) throws {
    let path = "\(repositoryFolder)/blobs"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    let digest = LocalHub.sha256(Self.bytes)
    try Data(bytes).write(to: URL(filePath: "\(path)/\(digest).incomplete"))
  }

  /// Expects a failure in one line that names all the parts, after which no file has a name.
  func expectFailure(
    _ kind: HubError.Kind, _ parts: String..., from name: String = Pulling.large,
    settings change: (inout HubSettings) -> Void = { _ in },
    at location: SourceLocation = #_sourceLocation
  ) async {
    let error = await #expect(throws: HubError.self, sourceLocation: location) {
      try await self.pull(name, settings: change)
    }
    #expect(error?.kind == kind, "\(error?.description ?? "")", sourceLocation: location)
    for part in parts {
      #expect(
        error?.description.contains(part) == true, "\(error?.description ?? "")",
        sourceLocation: location)
    }
    #expect(error?.description.contains("\n") != true, sourceLocation: location)
    #expect(error?.description.contains("hf_secret") != true, sourceLocation: location)
    let cache = HubCache(settings.cacheFolder)
    #expect(cache.entries().isEmpty, sourceLocation: location)
    #expect(blobs.allSatisfy { $0.hasSuffix(".incomplete") }, sourceLocation: location)
  }
}
