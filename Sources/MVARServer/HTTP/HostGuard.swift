import HTTPTypes
import Hummingbird

/// Refuses requests for hosts that this server is not, so that a web page cannot reach it by pointing
/// a name of its own at this machine (DNS rebinding).
struct HostGuard: RouterMiddleware {
  typealias Context = ServerContext

  /// In lower case; nil for any host.
  let allowed: Set<String>?

  func handle(
    _ request: Request, context: ServerContext,
    next: (Request, ServerContext) async throws -> Response
  ) async throws -> Response {
    if let allowed {
      let host = Self.host(of: request.head.authority ?? "")
      guard allowed.contains(host) else {
        throw APIError(
          status: .misdirectedRequest, kind: .permission,
          message: "this server does not answer for the host \(quoted(host)); use "
            + "\(allowed.sorted().joined(separator: " or ")), or start it with --allow-host",
          code: "host_not_allowed")
      }
    }
    return try await next(request, context)
  }

  /// `name` of `name:port`; an IPv6 address without its brackets.
  static func host(of authority: String) -> String {
    let authority = authority.lowercased()
    if authority.hasPrefix("["), let end = authority.firstIndex(of: "]") {
      return String(authority[authority.index(after: authority.startIndex)..<end])
    }
    return String(authority.prefix { $0 != ":" })
  }
}

/// A client's text made fit for a message: in quotes, on one line, not too long.
func quoted(_ text: String, limit: Int = 60) -> String {
  var shown = ""
  for scalar in text.unicodeScalars.prefix(limit) {
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator:
      shown += "\\u{\(String(scalar.value, radix: 16))}"
    default: shown.unicodeScalars.append(scalar)
    }
  }
  return "\"\(shown)\(text.unicodeScalars.count > limit ? "…" : "")\""
}
