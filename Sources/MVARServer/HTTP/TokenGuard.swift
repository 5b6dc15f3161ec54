import HTTPTypes
import Hummingbird

/// Asks for the server's token, where it has one, on every route that does or tells something.
struct TokenGuard: RouterMiddleware {
  typealias Context = ServerContext

  let token: AccessToken?
  /// Routes that anybody may use: the page, whether the server is up, and results, whose addresses
  /// cannot be guessed.
  static let open: Set<String> = [
    "/", "/page.css", "/page.js", "/healthz", "/readyz", "/openapi.json",
    ImageResults.route,
  ]

  func handle(
    _ request: Request, context: ServerContext,
    next: (Request, ServerContext) async throws -> Response
  ) async throws -> Response {
    if let token, !Self.open.contains(context.endpointPath ?? "") {
      guard let given = Self.bearer(request) else {
        throw Self.refusal("send the server's token as `Authorization: Bearer …`", "missing_token")
      }
      guard token.matches(given) else {
        throw Self.refusal("the token is wrong; ask whoever runs this server", "invalid_token")
      }
    }
    return try await next(request, context)
  }

  private static func bearer(_ request: Request) -> String? {
    guard let field = request.headers[.authorization] else { return nil }
    let parts = field.split(separator: " ", maxSplits: 1)
    guard parts.count == 2, parts[0].lowercased() == "bearer" else { return nil }
    return String(parts[1])
  }

  private static func refusal(_ message: String, _ code: String) -> APIError {
    APIError(
      status: .unauthorized, kind: .authentication, message: message, code: code,
      headers: [.wwwAuthenticate: "Bearer"])
  }
}
