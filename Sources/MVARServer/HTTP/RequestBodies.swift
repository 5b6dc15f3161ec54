import Foundation
import HTTPTypes
import Hummingbird
import NIOCore

/// Reads bodies of requests, none too large, and not too many at once.
struct RequestBodies: Sendable {
  let budget: MemoryBudget

  /// Hands over a body while it counts against the budget.
  ///
  /// - Throws: ``APIError`` for a body above `limit`, or if there is no room for it.
  func with<R>(
    _ request: Request, limit: Int, _ use: (Data) async throws -> R
  ) async throws -> R {
    let declared = request.headers[.contentLength].flatMap { Int($0) }
    if let declared, declared > limit { throw APIError.tooLarge(limit) }
    let reservation = try budget.reserve(declared ?? limit)
    defer { withExtendedLifetime(reservation) {} }
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
