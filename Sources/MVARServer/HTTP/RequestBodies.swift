import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
import Synchronization

/// Reads bodies of requests, none too large, and not too many at once.
final class RequestBodies: Sendable {
  private let total: Int
  private let held = Mutex(0)

  /// - Parameter total: Bytes of all bodies that are held at once.
  init(total: Int) { self.total = total }

  /// Hands over a body while it counts against the total.
  ///
  /// - Throws: ``APIError`` for a body above `limit`, or if there is no room for it.
  func with<R>(
    _ request: Request, limit: Int, _ use: (Data) async throws -> R
  ) async throws -> R {
    let declared = request.headers[.contentLength].flatMap { Int($0) }
    if let declared, declared > limit { throw APIError.tooLarge(limit) }
    let size = declared ?? limit
    let fits = held.withLock { held in
      guard held + size <= total else { return false }
      held += size
      return true
    }
    guard fits else {
      throw APIError.unavailable(
        "too many large requests are being read; try again shortly", code: "busy",
        retryAfter: .seconds(1))
    }
    defer { held.withLock { $0 -= size } }
    let buffer: ByteBuffer
    do { buffer = try await request.body.collect(upTo: limit) } catch is NIOTooManyBytesError {
      throw APIError.tooLarge(limit)
    }
    return try await use(Data(buffer.readableBytesView))
  }
}

extension Request {
  /// `application/json` of `application/json; charset=utf-8`.
  var mediaType: String {
    (headers[.contentType] ?? "").prefix { $0 != ";" }.lowercased()
      .trimmingCharacters(in: .whitespaces)
  }
}
