import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix

/// Requests to a hub: redirects are followed, what fails is tried again, and the token goes to the hub
/// alone.
struct HubClient: Sendable {
  let settings: HubSettings
  private let http: HTTPClient

  /// Runs `body` with a client that lasts as long.
  static func with<R>(
    _ settings: HubSettings, _ body: (HubClient) async throws -> R
  ) async throws -> R {
    var configuration = HTTPClient.Configuration()
    // Followed here, so that no other host gets the token.
    configuration.redirectConfiguration = .disallow
    configuration.timeout = .init(
      connect: .milliseconds(Int64(settings.timeout / .milliseconds(1))),
      read: .milliseconds(Int64(settings.timeout / .milliseconds(1))))
    // One way of trying again is enough.
    configuration.connectionPool.retryConnectionEstablishment = false
    configuration.proxy = settings.proxy.map { .server(host: $0.host, port: $0.port) }
    let http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    let result: Result<R, any Error>
    do { result = .success(try await body(HubClient(settings: settings, http: http))) } catch {
      result = .failure(error)
    }
    try? await http.shutdown()
    return try result.get()
  }

  /// An answer, and what the answers that led to it told.
  struct Answer {
    let status: Int
    let headers: HTTPHeaders
    let body: HTTPClientResponse.Body
    let seen: HubHeaders
    /// Whether it comes from another host than was asked.
    let isElsewhere: Bool
  }

  /// One request, with redirects followed.
  ///
  /// - Parameters:
  ///   - range: From which byte on; nil for all.
  ///   - stopsAtBlobs: Whether to take a redirect that tells a blob's name as the answer.
  /// - Throws: ``HubError`` for redirects that lead nowhere; what the network throws.
  func ask(
    _ method: HTTPMethod, _ address: String, from range: Int? = nil, stopsAtBlobs: Bool = false
  ) async throws -> Answer {
    var address = address
    var seen = HubHeaders()
    for _ in 0..<Self.redirects {
      let response = try await http.execute(
        request(method, address, from: range), deadline: .distantFuture)
      let headers = response.headers
      let status = Int(response.status.code)
      seen.note(headers, isRedirect: isRedirect(status))
      let isBlob = headers.contains(name: "X-Linked-Etag")
      let target = headers.first(name: "Location")
      guard isRedirect(status), let target, !(stopsAtBlobs && isBlob) else {
        return Answer(
          status: status, headers: headers, body: response.body, seen: seen,
          isElsewhere: !isEndpoint(address))
      }
      address = try Self.resolved(target, from: address)
    }
    throw HubError(.server, "\(address) is redirected again and again; check HF_ENDPOINT")
  }

  private static let redirects = 10

  private func request(_ method: HTTPMethod, _ address: String, from range: Int?)
    -> HTTPClientRequest
  {
    var request = HTTPClientRequest(url: address)
    request.method = method
    request.headers.add(name: "User-Agent", value: "swift-mvar")
    // The size and the digest are those of the bytes as they are.
    request.headers.add(name: "Accept-Encoding", value: "identity")
    if let range { request.headers.add(name: "Range", value: "bytes=\(range)-") }
    if let token = settings.token, isEndpoint(address) {
      request.headers.add(name: "Authorization", value: "Bearer \(token)")
    }
    return request
  }

  private func isRedirect(_ status: Int) -> Bool { [301, 302, 303, 307, 308].contains(status) }

  /// Whether an address is on the hub itself: scheme, host and port.
  private func isEndpoint(_ address: String) -> Bool {
    func origin(_ text: String) -> [String?] {
      let url = URL(string: text)
      let port = url?.port ?? (url?.scheme == "https" ? 443 : 80)
      return [url?.scheme?.lowercased(), url?.host()?.lowercased(), "\(port)"]
    }
    return origin(address) == origin(settings.endpoint)
  }

  private static func resolved(_ target: String, from address: String) throws(HubError) -> String {
    guard let url = URL(string: target, relativeTo: URL(string: address))?.absoluteURL,
      ["http", "https"].contains(url.scheme?.lowercased()), url.host()?.isEmpty == false
    else {
      throw HubError(.server, "\(address) is redirected to \"\(target)\", which is no web address")
    }
    return url.absoluteString
  }

  // MARK: Trying again

  /// Why an attempt failed in a way that may pass.
  struct Passing: Error {
    let reason: String
    /// How long the server asks to wait.
    var wait: Duration?
  }

  /// Runs attempts until one succeeds, as many in a row as may bring nothing.
  ///
  /// - Parameters:
  ///   - limit: nil for as many as the settings say.
  ///   - report: Told before each wait.
  ///   - progress: A number that grows when an attempt brought something.
  /// - Throws: ``HubError`` when the last has failed, `CancellationError`.
  func attempts<R>(
    _ what: String, limit: Int? = nil, report: (String, Duration) -> Void,
    progress: () -> Int = { 0 }, _ body: () async throws -> R
  ) async throws -> R {
    var failures = 0
    while true {
      let before = progress()
      do {
        return try await body()
      } catch {
        try Task.checkCancellation()
        guard let passing = Self.passing(error) else { throw error }
        failures = progress() > before ? 1 : failures + 1
        guard failures < limit ?? settings.retries.attempts else {
          throw HubError(
            .connection, "\(what): \(passing.reason); check the network and try again")
        }
        let wait = passing.wait.map { min($0, settings.retries.longestAsked) }
        let pause = wait ?? settings.retries.wait(before: failures)
        report(passing.reason, pause)
        try await Task.sleep(for: pause)
      }
    }
  }

  /// What may pass: everything that comes from the network, and what says so itself.
  private static func passing(_ error: any Error) -> Passing? {
    switch error {
    case let passing as Passing: passing
    case is HubError, is CancellationError: nil
    case let error as HTTPClientError: Passing(reason: describe(error))
    default: Passing(reason: describe(error))
    }
  }

  private static func describe(_ error: HTTPClientError) -> String {
    switch error {
    case .connectTimeout: "the server does not answer"
    case .readTimeout, .deadlineExceeded: "the server has fallen silent"
    case .remoteConnectionClosed: "the connection was cut"
    default: "the connection failed (\(error.shortDescription))"
    }
  }

  private static func describe(_ error: any Error) -> String {
    if let error = error as? IOError {
      return error.errnoCode == ECONNREFUSED
        ? "the connection was refused"
        : "the connection failed (\(String(cString: strerror(error.errnoCode))))"
    }
    if let error = error as? HTTPParserError {
      return error == .invalidEOFState
        ? "the connection was cut" : "the server speaks no HTTP (\(error.debugDescription))"
    }
    if let error = error as? NIOConnectionError {
      if error.dnsAError != nil || error.dnsAAAAError != nil, error.connectionErrors.isEmpty {
        return "there is no host \(error.host)"
      }
      return error.connectionErrors.first.map { describe($0.error) } ?? "no connection is made"
    }
    let text = "\(error)".split(whereSeparator: \.isNewline).joined(separator: " ")
    return "the connection failed (\(text.prefix(200)))"
  }
}

extension HubHeaders {
  /// Keeps what is told first, except that a blob's own name goes before any other.
  fileprivate mutating func note(_ headers: HTTPHeaders, isRedirect: Bool) {
    commit = commit ?? headers.first(name: "X-Repo-Commit")
    if let linked = headers.first(name: "X-Linked-Etag") {
      entityTag = linked
      size = headers.first(name: "X-Linked-Size").flatMap(Int.init)
    } else if entityTag == nil, !isRedirect {
      entityTag = headers.first(name: "ETag")
      size = headers.first(name: "Content-Length").flatMap(Int.init)
    }
  }
}
