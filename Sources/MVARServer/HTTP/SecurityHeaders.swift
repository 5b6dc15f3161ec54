import HTTPTypes
import Hummingbird

/// Headers that keep browsers from doing what this server never needs.
struct SecurityHeaders: RouterMiddleware {
  typealias Context = ServerContext

  func handle(
    _ request: Request, context: ServerContext,
    next: (Request, ServerContext) async throws -> Response
  ) async throws -> Response {
    var response = try await next(request, context)
    for field in Self.fields where response.headers[field.name] == nil {
      response.headers.append(field)
    }
    return response
  }

  private static let fields: HTTPFields = [
    .contentSecurityPolicy: [
      "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' blob: data:",
      "connect-src 'self'", "form-action 'none'", "base-uri 'none'", "frame-ancestors 'none'",
    ].joined(separator: "; "),
    .xContentTypeOptions: "nosniff",
    .init("X-Frame-Options")!: "DENY",
    .init("Referrer-Policy")!: "no-referrer",
    .init("Cross-Origin-Opener-Policy")!: "same-origin",
    .init("Cross-Origin-Resource-Policy")!: "same-origin",
    .init("Permissions-Policy")!: "camera=(), microphone=(), geolocation=()",
    .cacheControl: "no-store",
  ]
}
