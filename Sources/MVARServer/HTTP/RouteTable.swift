import HTTPTypes
import Hummingbird
import Synchronization

/// The routes of a server, for telling a wrong method from a wrong path.
final class RouteTable: Sendable {
  private let all = Mutex<[String: Set<String>]>([:])

  func add(_ method: HTTPRequest.Method, _ path: String) {
    all.withLock { _ = $0[path, default: []].insert(method.rawValue) }
  }

  /// `GET /path` and so on.
  var routes: Set<String> {
    Set(all.withLock { $0 }.flatMap { path, methods in methods.map { "\($0) \(path)" } })
  }

  /// The methods of a path, with commas between; nil for a path that is not there.
  func methods(of path: String) -> String? {
    let segments = Self.segments(path)
    let matching = all.withLock { all in
      all.filter { Self.matches(Self.segments($0.key), segments) }.values
    }
    let methods = matching.reduce(into: Set<String>()) { $0.formUnion($1) }
    guard !methods.isEmpty else { return nil }
    return methods.union(methods.contains("GET") ? ["HEAD"] : []).sorted()
      .joined(separator: ", ")
  }

  private static func segments(_ path: String) -> [Substring] {
    path.split(separator: "/", omittingEmptySubsequences: true)
  }

  private static func matches(_ route: [Substring], _ path: [Substring]) -> Bool {
    route.count == path.count && zip(route, path).allSatisfy { $0 == $1 || $0.hasPrefix("{") }
  }
}

/// A router whose routes are kept in a table.
struct TabledRouter {
  let router: Router<ServerContext>
  let table: RouteTable

  func on(
    _ method: HTTPRequest.Method, _ path: String,
    _ answer: @escaping @Sendable (Request, ServerContext) async throws -> Response
  ) {
    table.add(method, path)
    router.on(RouterPath(path), method: method) { try await answer($0, $1) }
  }

  func get(
    _ path: String, _ answer: @escaping @Sendable (Request, ServerContext) async throws -> Response
  ) { on(.get, path, answer) }

  func post(
    _ path: String, _ answer: @escaping @Sendable (Request, ServerContext) async throws -> Response
  ) { on(.post, path, answer) }
}
