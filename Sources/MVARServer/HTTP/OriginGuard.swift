import HTTPTypes
import Hummingbird

/// Refuses requests that a browser makes for another site's page, except those of sites that are
/// allowed, which get the headers for it (CORS).
struct OriginGuard: RouterMiddleware {
  typealias Context = ServerContext

  /// Such as `https://example.org`.
  let allowed: Set<String>

  func handle(
    _ request: Request, context: ServerContext,
    next: (Request, ServerContext) async throws -> Response
  ) async throws -> Response {
    guard let origin = request.headers[.origin] else {
      if request.headers[Self.fetchSite] == "cross-site", request.method != .get {
        throw Self.refusal("another site")
      }
      return try await next(request, context)
    }
    if Self.isOwn(origin, request) { return try await next(request, context) }
    guard allowed.contains(origin) else { throw Self.refusal(quoted(origin)) }
    if request.method == .options { return Self.preflight(origin) }
    do {
      var response = try await next(request, context)
      response.headers.append(contentsOf: Self.fields(origin))
      return response
    } catch {
      // A page may read why it was refused, too.
      var refused = APIError(error)
      guard refused.status != .internalServerError else { throw error }
      refused.headers.append(contentsOf: Self.fields(origin))
      throw refused
    }
  }

  private static let fetchSite = HTTPField.Name("Sec-Fetch-Site")!

  private static func isOwn(_ origin: String, _ request: Request) -> Bool {
    guard let authority = request.head.authority?.lowercased() else { return false }
    let origin = origin.lowercased()
    return origin == "http://\(authority)" || origin == "https://\(authority)"
  }

  private static func refusal(_ who: String) -> APIError {
    APIError(
      status: .forbidden, kind: .permission,
      message: "pages of \(who) may not use this server; start it with --allow-origin to let them",
      code: "origin_not_allowed")
  }

  private static func fields(_ origin: String) -> HTTPFields {
    [
      .accessControlAllowOrigin: origin, .vary: "Origin",
      .accessControlExposeHeaders: "Retry-After",
      .init("Cross-Origin-Resource-Policy")!: "cross-origin",
    ]
  }

  private static func preflight(_ origin: String) -> Response {
    var headers = fields(origin)
    headers[.accessControlAllowMethods] = "GET, POST"
    headers[.accessControlAllowHeaders] = "Authorization, Content-Type"
    headers[.accessControlMaxAge] = "600"
    return Response(status: .noContent, headers: headers)
  }
}
