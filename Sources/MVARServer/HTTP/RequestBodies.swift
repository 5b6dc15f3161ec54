import Foundation
import HTTPTypes
import Hummingbird
import NIOCore

/// Reads bodies of requests, none too large, and not too many at once.
struct RequestBodies: Sendable {
  let budget: MemoryBudget

  /// Hands over a body while it counts against the budget.
  ///
  /// - Throws: ``APIError`` for a body above `limit` or one that cannot be read, or if there is no room
  ///   for it; `CancellationError` if the client left before its end.
  func with<R>(
    _ request: Request, _ context: ServerContext, limit: Int, _ use: (Data) async throws -> R
  ) async throws -> R {
    let declared = request.headers[.contentLength].flatMap { Int($0) }
    if let declared, declared > limit { throw APIError.tooLarge(limit) }
    let reservation = try budget.reserve(declared ?? limit)
    defer { withExtendedLifetime(reservation) {} }
    let buffer = try await read(request, context, limit)
    return try await use(Data(buffer.readableBytesView))
  }

  private func read(_ request: Request, _ context: ServerContext, _ limit: Int) async throws
    -> ByteBuffer
  {
    do { return try await request.body.collect(upTo: limit) } catch is NIOTooManyBytesError {
      throw APIError.tooLarge(limit)
    } catch {
      // Nothing here makes a body fail: it is what the client sent, or that it sends no more.
      if await context.presence()?.isGone == true { throw CancellationError() }
      throw APIError.unreadable(error)
    }
  }
}

extension Request {
  /// `application/json` of `application/json; charset=utf-8`.
  var mediaType: String {
    (headers[.contentType] ?? "").prefix { $0 != ";" }.lowercased()
      .trimmingCharacters(in: .whitespaces)
  }
}
