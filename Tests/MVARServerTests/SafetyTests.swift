import HTTPTypes
import NIOCore
import Testing

@testable import MVARServer

/// Who may ask for what.
struct SafetyTests {
  // MARK: Token

  @Test func aWideAddressNeedsAToken() throws {
    var configuration = ServerConfiguration()
    for host in ["0.0.0.0", "::", "192.168.1.7", "example.org"] {
      configuration.host = host
      configuration.token = nil
      let error = #expect(throws: ServerConfigurationError.self) { try configuration.validate() }
      #expect(error?.description.contains(host) == true)
      #expect(error?.description.contains("--token") == true)
      configuration.token = AccessToken("correct horse")
      try configuration.validate()
    }
    for host in ["127.0.0.1", "127.1.2.3", "localhost", "::1"] {
      configuration.host = host
      configuration.token = nil
      try configuration.validate()
    }
    #expect(AccessToken("short") == nil)
  }

  @Test func onlyTheTokenOpensTheAPI() async throws {
    let engine = FakeEngine()
    try await withServer(engine, configure: { $0.token = AccessToken("correct horse") }) { client in
      for path in ["/v1/models", "/v1/classes", "/metrics", "/v1/nothing", "/nothing"] {
        let answer = try await client.get(path)
        #expect(answer.status == 401 && answer.error.code == "missing_token", "\(path)")
        #expect(answer.headers[.wwwAuthenticate] == "Bearer")
      }
      let body = #"{"class": 1}"#
      for wrong in [
        "Bearer wrong horse", "Bearer correct horse 2", "Basic correct horse", "Bearer",
      ] {
        let answer = try await client.post(
          "/v1/images/generations", body, headers: [.authorization: wrong])
        #expect(answer.status == 401, "\(wrong)")
      }
      #expect(engine.batches.isEmpty)
      let answer = try await client.post(
        "/v1/images/generations", body, headers: [.authorization: "bearer correct horse"])
      #expect(answer.status == 200)
      for path in ["/", "/page.css", "/page.js", "/healthz", "/readyz", "/openapi.json"] {
        #expect(try await client.get(path).status == 200, "\(path)")
      }
    }
  }

  // MARK: Addresses

  @Test(arguments: [
    ("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"),
    ("::ffff:198.51.100.1", "198.51.100.1"), ("::1", "::1"),
    ("2001:db8:1:2:3:4:5:6", "20010db800010002"), ("2001:db8:1:2::9", "20010db800010002"),
    ("2001:db8:1:3::9", "20010db800010003"),
  ]) func clientsAreTheirAddressesOrNetworks(_ address: String, _ client: String) throws {
    let socket = try SocketAddress(ipAddress: address, port: 1)
    #expect(ServerContext.address(of: socket) == client)
  }

  // MARK: Hosts and origins

  @Test func namesThatAreNotOursAreRefused() async throws {
    try await withServer(over: .live, configure: { $0.allowedHosts = ["Pictures.example"] }) {
      client in
      let port = try #require(client.client.port)
      func status(_ host: String) async throws -> String {
        let raw = try RawConnection(port: port)
        raw.send("GET /healthz HTTP/1.1\r\nHost: \(host)\r\nConnection: close\r\n\r\n")
        var answer = ""
        try await eventually("the answer comes") {
          answer += raw.received() ?? ""
          return answer.contains("\r\n\r\n")
        }
        return String(answer.dropFirst(9).prefix(3))
      }
      for host in [
        "localhost", "localhost:\(port)", "127.0.0.1:1", "[::1]:80", "LOCALHOST",
        "pictures.example",
      ] {
        #expect(try await status(host) == "200", "\(host)")
      }
      for host in ["evil.example", "evil.example:\(port)", "localhost.evil.example", "[::2]", ""] {
        #expect(try await status(host) == "421", "\(host)")
      }
    }
  }

  @Test func pagesOfOtherSitesAreRefused() async throws {
    let engine = FakeEngine()
    try await withServer(engine) { client in
      for origin in ["https://evil.example", "null", "http://localhost.evil.example", "file://"] {
        let answer = try await client.post(
          "/v1/images/generations", #"{"class": 1}"#, headers: [.origin: origin])
        #expect(answer.status == 403 && answer.error.code == "origin_not_allowed")
        #expect(answer.headers[.accessControlAllowOrigin] == nil)
      }
      let crossSite = try await client.post(
        "/v1/images/generations", #"{"class": 1}"#,
        headers: [.init("Sec-Fetch-Site")!: "cross-site"])
      #expect(crossSite.status == 403)
      #expect(engine.batches.isEmpty)
      let own = try await client.post(
        "/v1/images/generations", #"{"class": 1}"#, headers: [.origin: "http://localhost"])
      #expect(own.status == 200 && own.headers[.accessControlAllowOrigin] == nil)
    }
  }

  @Test func anAllowedSiteGetsItsHeaders() async throws {
    let site = "https://friend.example"
    try await withServer(configure: { $0.allowedOrigins = [site] }) { client in
      let asked = try await client.send(
        .options, "/v1/images/generations",
        headers: [.origin: site, .accessControlRequestMethod: "POST"])
      #expect(asked.status == 204 && asked.headers[.accessControlAllowOrigin] == site)
      #expect(asked.headers[.accessControlAllowHeaders]?.contains("Content-Type") == true)
      let answer = try await client.post(
        "/v1/images/generations", #"{"class": 1}"#, headers: [.origin: site])
      #expect(answer.status == 200 && answer.headers[.accessControlAllowOrigin] == site)
      #expect(answer.headers[.vary] == "Origin")
      let wrong = try await client.post(
        "/v1/images/generations", "{}", headers: [.origin: site])
      #expect(wrong.status == 400 && wrong.headers[.accessControlAllowOrigin] == site)
      let other = try await client.send(
        .options, "/v1/images/generations", headers: [.origin: "https://evil.example"])
      #expect(other.status == 403 && other.headers[.accessControlAllowOrigin] == nil)
    }
  }

  // MARK: Answers

  @Test(arguments: ["/", "/healthz", "/v1/models", "/nothing", "/metrics"])
  func everyAnswerCarriesTheHeaders(_ path: String) async throws {
    try await withServer { client in
      let headers = try await client.get(path).headers
      let policy = headers[.contentSecurityPolicy] ?? ""
      for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
        #expect(policy.contains(part))
      }
      #expect(!policy.contains("unsafe"))
      #expect(headers[.xContentTypeOptions] == "nosniff")
      #expect(headers[.init("X-Frame-Options")!] == "DENY")
      #expect(headers[.cacheControl] == "no-store")
    }
  }

  @Test func pathsLeadNowhereElse() async throws {
    try await withServer { client in
      for path in [
        "/../../etc/passwd", "/v1/images/results/../../../etc/passwd",
        "/v1/images/results/..%2F..%2Fetc%2Fpasswd", "/v1/images/results/%00", "/page.html",
        "//etc/passwd", "/v1/images/results/",
      ] {
        let answer = try await client.get(path)
        #expect(answer.status == 404, "\(path)")
        #expect(!answer.text.contains("root:"))
      }
    }
  }

  @Test func wrongMethodsAreToldTheRightOnes() async throws {
    try await withServer { client in
      let answer = try await client.get("/v1/images/generations")
      #expect(answer.status == 405 && answer.headers[.allow] == "POST")
      let other = try await client.send(.delete, "/v1/images/results/some.png")
      #expect(other.status == 405 && other.headers[.allow] == "GET, HEAD")
      #expect(try await client.send(.head, "/healthz").status == 200)
    }
  }

  /// Their lengths are those of the answers to GET.
  @Test func errorsForHeadHaveNoBody() async throws {
    try await withServer { client in
      for path in ["/nothing", "/v1/images/results/some.png", "/v1/images/generations"] {
        let (head, get) = (try await client.send(.head, path), try await client.get(path))
        #expect(head.status == get.status && head.status >= 400)
        #expect(head.bytes.isEmpty && !get.bytes.isEmpty)
        #expect(head.headers[.contentLength] != "0", "\(path)")
      }
    }
  }

  @Test func resultsMakeRoomAndExpire() async throws {
    let results = ImageResults(byteLimit: 100, lifetime: .seconds(600))
    let names = try (0..<5).map {
      try results.answer().keep(Array(repeating: UInt8($0), count: 30), format: .png)
    }
    #expect(Set(names).count == 5)
    #expect(names.map { results[$0] != nil } == [false, false, true, true, true])
    #expect(results[names[4]]?.bytes.first == 4 && results.totalBytes == 90)
    let brief = ImageResults(byteLimit: 100, lifetime: .zero)
    #expect(brief[try brief.answer().keep([1], format: .webp)] == nil)
    #expect(brief.totalBytes == 0)
  }

  @Test func anAnswerKeepsAllOfItsResultsUntilItIsFinished() throws {
    let results = ImageResults(byteLimit: 100, lifetime: .seconds(600))
    let file = [UInt8](repeating: 0, count: 30)
    var answer: ImageResults.Answer? = results.answer()
    let names = try (0..<3).map { _ in try #require(answer).keep(file, format: .png) }
    let tooLarge = #expect(throws: APIError.self) { try answer?.keep(file, format: .png) }
    #expect(tooLarge?.status == .contentTooLarge && tooLarge?.parameter == "response_format")
    let other = results.answer()
    let busy = #expect(throws: APIError.self) { try other.keep(file, format: .png) }
    #expect(busy?.status == .serviceUnavailable)
    #expect(names.allSatisfy { results[$0] != nil } && results.totalBytes == 90)
    answer = nil
    let later = try other.keep(file, format: .png)
    #expect(results[later] != nil && names.map { results[$0] != nil } == [false, true, true])
  }

  @Test func memoryIsGivenBack() throws {
    let budget = MemoryBudget(total: 10)
    var first: MemoryBudget.Reservation? = try budget.reserve(6)
    let error = #expect(throws: APIError.self) { try budget.reserve(5) }
    #expect(error?.status == .serviceUnavailable && error?.code == "busy")
    let second = try budget.reserve(4)
    #expect(budget.heldBytes == 10)
    withExtendedLifetime(first) {}
    first = nil
    #expect(budget.heldBytes == 4)
    withExtendedLifetime(second) {}
  }
}
