import Foundation
import NIOCore
import NIOHTTP1

/// One file on its way here.
struct Transfer {
  let client: HubClient
  let cache: HubCache
  let file: HubFile
  let report: @Sendable (ModelHub.Event) -> Void

  private var repository: HubRepository { file.repository }

  /// What the server tells about the file.
  ///
  /// - Parameter isUrgent: Whether there is no copy to fall back on.
  func metadata(isUrgent: Bool) async throws -> HubMetadata {
    let endpoint = client.settings.endpoint
    return try await client.attempts(
      "\(file)", limit: isUrgent ? nil : 1, report: retrying
    ) {
      let answer = try await client.ask(
        .HEAD, HubAddress.file(file, endpoint: endpoint), stopsAtBlobs: true)
      if !(300..<400).contains(answer.status) {
        try client.check(answer, "\(file)", of: repository)
      }
      return try HubMetadata(answer.seen, of: file, endpoint: endpoint)
    }
  }

  /// Brings the file's bytes here and names them.
  ///
  /// - Returns: The file's path, and whether bytes fetched now were checked; nil if they were here.
  func blob(_ metadata: HubMetadata) async throws -> (path: String, isChecked: Bool?) {
    let blob = cache.blob(metadata.digest, of: repository)
    func published() throws -> String {
      try cache.publish(metadata.digest, as: file, commit: metadata.commit)
    }
    let snapshot = cache.snapshot(metadata.commit, file)
    // Where links are not to be had, the snapshot is the blob.
    if access(snapshot, F_OK) == 0, access(blob, F_OK) != 0 { return (snapshot, nil) }
    if access(blob, F_OK) == 0 { return (try published(), nil) }
    let lock = try await FileLock.acquire(
      cache.lock(metadata.digest, of: repository), in: cache, waiting: { report(.waiting) })
    defer { withExtendedLifetime(lock) {} }
    if access(blob, F_OK) == 0 { return (try published(), nil) }
    let isChecked = try await fetch(metadata, to: blob)
    return (try published(), isChecked)
  }

  private func retrying(_ reason: String, _ wait: Duration) {
    report(.retrying(reason: reason, wait: wait))
  }

  /// Bytes that are damaged are fetched once more, from the beginning.
  private func fetch(_ metadata: HubMetadata, to blob: String) async throws -> Bool {
    let partial = try PartialFile(
      cache.partialBlob(metadata.digest, of: repository), in: cache)
    for isLastTry in [false, true] {
      try await receive(metadata, into: partial)
      report(.checking)
      let digest = try partial.digest(like: metadata.digest)
      if digest == nil || digest == metadata.digest {
        try partial.finish(as: blob)
        return digest != nil
      }
      try partial.restart()
      if isLastTry {
        partial.remove()
        throw HubError(
          .damaged,
          "\(file) arrived damaged twice: its digest is \(digest!) and should be \(metadata.digest); "
            + "try again later, or with another HF_ENDPOINT")
      }
      retrying("the bytes do not have the promised digest", .zero)
    }
    preconditionFailure("the last try returns or throws")
  }

  /// Receives what is missing, however often the connection is cut.
  private func receive(_ metadata: HubMetadata, into partial: PartialFile) async throws {
    if let size = metadata.size {
      if partial.count > size { try partial.restart() }
      try checkRoom(size - partial.count, partial)
    }
    report(.started(present: partial.count, total: metadata.size))
    var isComplete = partial.count == metadata.size
    var isFresh = false
    while !isComplete {
      isComplete = try await client.attempts(
        "\(file)", report: retrying, progress: { partial.count }
      ) {
        try await receiveOnce(metadata, into: partial, isFresh: &isFresh)
      }
    }
  }

  private func checkRoom(_ missing: Int, _ partial: PartialFile) throws(HubError) {
    guard let free = cache.freeBytes(at: partial.path), free < missing else { return }
    throw HubError(
      .storage,
      "\(file) needs \(missing) bytes and \(cache.folder) has room for \(free); make room, or set "
        + "HF_HOME to a folder on another disk")
  }

  /// One request.
  ///
  /// - Parameter isFresh: Whether to ask for all bytes, as the server did not understand otherwise.
  /// - Returns: Whether all bytes are here.
  private func receiveOnce(
    _ metadata: HubMetadata, into partial: PartialFile, isFresh: inout Bool
  ) async throws -> Bool {
    if isFresh { try partial.restart() }
    let start = partial.count
    let address = HubAddress.file(
      try file.at(commit: metadata.commit), endpoint: client.settings.endpoint)
    let answer = try await client.ask(.GET, address, from: start == 0 ? nil : start)
    if answer.status == 416 {
      // There are not so many bytes, whatever the server said before.
      isFresh = true
      throw HubClient.Passing(reason: "the server has fewer bytes than were received", wait: .zero)
    }
    try client.check(answer, "\(file)", of: repository)
    if start > 0 {
      if answer.status != 206 {
        try partial.restart()
        report(.received(0))
      } else if Self.start(of: answer.headers) != start {
        isFresh = true
        throw HubClient.Passing(reason: "the server sends other bytes than were asked for")
      }
    }
    isFresh = false
    try checkLength(answer.headers, from: partial.count, metadata)
    for try await buffer in answer.body {
      try buffer.withUnsafeReadableBytes { bytes in
        if let size = metadata.size, partial.count + bytes.count > size {
          throw tooMany(size)
        }
        try partial.append(bytes)
      }
      report(.received(partial.count))
    }
    guard let size = metadata.size else { return true }
    guard partial.count == size else {
      throw HubClient.Passing(reason: "the server stopped after \(partial.count) of \(size) bytes")
    }
    return true
  }

  private func tooMany(_ size: Int) -> HubError {
    HubError(
      .server,
      "\(client.settings.endpoint) sends more than the \(size) bytes that it promised for \(file); try "
        + "again later, or with another HF_ENDPOINT")
  }

  /// What the answer says about its length has to agree with what the hub said about the file's.
  private func checkLength(_ headers: HTTPHeaders, from start: Int, _ metadata: HubMetadata) throws
  {
    guard let size = metadata.size, let text = headers.first(name: "Content-Length"),
      let length = Int(text), length > size - start
    else { return }
    throw tooMany(size)
  }

  /// The first byte of a `Content-Range`.
  private static func start(of headers: HTTPHeaders) -> Int? {
    let range = headers.first(name: "Content-Range")?.split(separator: " ").last
    return range?.split(separator: "-").first.flatMap { Int($0) }
  }
}
