import Digests
import Foundation

/// A hub on 127.0.0.1 with one commit, which keeps large files on another server as the real one does.
public final class LocalHub: Sendable {
  public static let commit = String(repeating: "c0ffee12", count: 5)

  /// Answers instead of the hub; nil to let it answer.
  public typealias Override = @Sendable (LocalServer.Request, _ number: Int) -> LocalServer.Reply?

  private let server: LocalServer
  /// Where large files are; another port is another host.
  public let storage: LocalServer

  /// - Parameters:
  ///   - files: Contents by "owner/name/path".
  ///   - large: Which of them are kept elsewhere, named by SHA-256.
  ///   - hub: Answers of the hub that are not as they should be.
  ///   - storage: The same of the storage.
  public init(
    _ files: [String: [UInt8]], large: Set<String> = [],
    hub: @escaping Override = { _, _ in nil }, storage: @escaping Override = { _, _ in nil }
  ) {
    let store = LocalServer { request, number in
      if let reply = storage(request, number) { return reply }
      let name = String(request.target.dropFirst("/store/".count))
      guard let bytes = files[name] else { return .init(404) }
      return Self.content(bytes, of: request)
    }
    self.storage = store
    server = LocalServer { request, number in
      hub(request, number)
        ?? Self.answer(request, files: files, large: large, storage: store.address)
    }
  }

  public var address: String { server.address }
  public var requests: [LocalServer.Request] { server.requests }

  public func stop() {
    server.stop()
    storage.stop()
  }

  /// The name that git gives to a file.
  public static func gitDigest(_ bytes: [UInt8]) -> String {
    let digest = MessageDigest(.sha1)
    digest.update("blob \(bytes.count)\0")
    bytes.withUnsafeBytes(digest.update)
    return digest.hexadecimal()
  }

  public static func sha256(_ bytes: [UInt8]) -> String {
    let digest = MessageDigest(.sha256)
    bytes.withUnsafeBytes(digest.update)
    return digest.hexadecimal()
  }

  /// Bytes, or those from where a range begins.
  public static func content(
    _ bytes: [UInt8], of request: LocalServer.Request, headers: [(String, String)] = []
  ) -> LocalServer.Reply {
    guard let start = request.rangeStart else {
      let length =
        request.method == "HEAD" ? [("Content-Length", "\(bytes.count)")] : []
      return .init(200, headers + length, bytes)
    }
    guard start < bytes.count else {
      return .init(416, [("Content-Range", "bytes */\(bytes.count)")])
    }
    let range = "bytes \(start)-\(bytes.count - 1)/\(bytes.count)"
    return .init(206, headers + [("Content-Range", range)], Array(bytes[start...]))
  }

  private static func answer(
    _ request: LocalServer.Request, files: [String: [UInt8]], large: Set<String>, storage: String
  ) -> LocalServer.Reply {
    let parts = request.target.split(separator: "/").map(String.init)
    guard parts.count >= 5, parts[2] == "resolve" else { return .init(404) }
    let repository = "\(parts[0])/\(parts[1])"
    guard files.keys.contains(where: { $0.hasPrefix("\(repository)/") }) else {
      return .init(401, [("X-Error-Code", "RepoNotFound")])
    }
    guard ["main", commit].contains(parts[3]) else {
      return .init(404, [("X-Error-Code", "RevisionNotFound")])
    }
    let name = "\(repository)/\(parts[4...].joined(separator: "/"))"
    guard let bytes = files[name] else {
      return .init(404, [("X-Error-Code", "EntryNotFound")])
    }
    let commit = [("X-Repo-Commit", commit)]
    guard large.contains(name) else {
      return content(bytes, of: request, headers: commit + [("ETag", "\"\(gitDigest(bytes))\"")])
    }
    return .init(
      302,
      commit + [
        ("X-Linked-Etag", "\"\(sha256(bytes))\""), ("X-Linked-Size", "\(bytes.count)"),
        ("Location", "\(storage)/store/\(name)"),
      ])
  }
}
