import HTTPTypes
import Testing

@testable import MVARServer

/// Clients that are slow, and clients that leave, over real sockets.
struct ConnectionTests {
  private func connection(_ client: Client) throws -> RawConnection {
    try RawConnection(port: try #require(client.client.port))
  }

  private let head = "POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\n"

  @Test func aHeadThatComesByteByByteIsCutOff() async throws {
    try await withServer(over: .live, configure: { $0.connection.head = .milliseconds(150) }) {
      client in
      let slow = try connection(client)
      slow.send("GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
      try await eventually("the server closes the connection") {
        slow.send("x")
        return slow.received() == nil
      }
    }
  }

  @Test func aBodyThatComesByteByByteIsCutOff() async throws {
    let engine = FakeEngine()
    try await withServer(
      engine, over: .live, configure: { $0.connection.body = .milliseconds(150) }
    ) { client in
      let slow = try connection(client)
      slow.send(head + "Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n{")
      try await eventually("the server closes the connection") {
        slow.send(" ")
        return slow.received() == nil
      }
      #expect(engine.batches.isEmpty)
      // Others are answered as ever.
      #expect(try await client.get("/healthz").status == 200)
    }
  }

  @Test func whoNeverTakesItsAnswersIsCutOff() async throws {
    try await withServer(over: .live, configure: { $0.connection.write = .milliseconds(150) }) {
      client in
      let deaf = try connection(client)
      // More answers than the system keeps for a connection.
      let ask = String(repeating: "GET /v1/classes HTTP/1.1\r\nHost: localhost\r\n\r\n", count: 400)
      deaf.send(ask)
      try await eventually("the server closes the connection") { !deaf.send("x") }
    }
  }

  @Test func aDrawingIsNotCutOffHoweverLongItTakes() async throws {
    let engine = FakeEngine(open: false)
    try await withServer(
      engine, over: .live,
      configure: { $0.connection = .init(head: .milliseconds(50), body: .milliseconds(50)) }
    ) { client in
      let patient = try connection(client)
      let body = #"{"class": 1}"#
      patient.send(
        head + "Content-Type: application/json\r\nContent-Length: \(body.count)\r\n\r\n" + body)
      try await eventually("a batch begins") { engine.batches.count == 1 }
      try await Task.sleep(for: .milliseconds(200))
      await engine.gate.open()
      var answer = ""
      try await eventually("the answer comes") {
        answer += patient.received() ?? ""
        return answer.contains("b64_json")
      }
      #expect(answer.hasPrefix("HTTP/1.1 200"))
    }
  }

  @Test(arguments: [false, true]) func whoLeavesStopsItsDrawing(_ streams: Bool) async throws {
    let engine = FakeEngine(open: false)
    try await withServer(engine, over: .live) { client in
      let leaving = try connection(client)
      let body = #"{"class": 1, "n": 2, "stream": \#(streams)}"#
      leaving.send(
        head + "Content-Type: application/json\r\nContent-Length: \(body.count)\r\n\r\n" + body)
      try await eventually("a batch begins") { engine.batches.count == 1 }
      await engine.gate.letOne()
      try await eventually("a scale is drawn") { engine.drawnScales == 1 }
      leaving.close()
      try await eventually("the batch stops") { await client.server.scheduler.load == (0, 0) }
      #expect(engine.drawnScales == 1)
      let metrics = try await client.get("/metrics").text
      #expect(metrics.contains(#"mvar_orders_total{outcome="cancelled"} 1"#))
      #expect(metrics.contains(#"mvar_batches_total{outcome="cancelled"} 1"#))
    }
  }

  /// Before anything of it is drawn, or its answer has begun.
  @Test(arguments: [false, true]) func whoLeavesAtOnceIsNotDrawnFor(_ streams: Bool) async throws {
    try await withServer(FakeEngine(open: false), over: .live) { client in
      let body = #"{"class": 1, "stream": \#(streams)}"#
      for _ in 1...50 {
        let leaving = try connection(client)
        leaving.send(
          head + "Content-Type: application/json\r\nContent-Length: \(body.count)\r\n\r\n" + body)
        leaving.reset()
      }
      try await Task.sleep(for: .milliseconds(100))
      try await eventually("nothing is left to draw") {
        await client.server.scheduler.load == (0, 0)
      }
    }
  }

  @Test func whoIsRefusedBeforeItsBodyEndsMustGoOn() async throws {
    try await withServer(over: .live, configure: { $0.connection.head = .milliseconds(150) }) {
      client in
      let refused = try connection(client)
      refused.send(head + "Content-Type: text/plain\r\nContent-Length: 1\r\n\r\n")
      var answer = ""
      try await eventually("the answer comes") {
        answer += refused.received() ?? ""
        return answer.hasSuffix("}")
      }
      #expect(answer.hasPrefix("HTTP/1.1 415"))
      refused.send("x")
      try await eventually("the server closes the connection") { refused.received() == nil }
    }
  }

  @Test func aBodyThatIsNoHTTPIsTheClientsMistake() async throws {
    try await withServer(over: .live) { client in
      let odd = try connection(client)
      odd.send(
        head + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n")
      var answer = ""
      try await eventually("the server answers and closes") {
        guard let more = odd.received() else { return true }
        answer += more
        return false
      }
      #expect(answer.hasPrefix("HTTP/1.1 400") && answer.contains("invalid_body"), "\(answer)")
    }
  }

  @Test(arguments: [false, true]) func whoLeavesWithinItsBodyIsNoError(_ resets: Bool) async throws
  {
    try await withServer(over: .live) { client in
      let leaving = try connection(client)
      leaving.send(head + "Content-Type: application/json\r\nContent-Length: 50\r\n\r\n{")
      try await Task.sleep(for: .milliseconds(50))
      if resets { leaving.reset() } else { leaving.close() }
      var metrics = ""
      try await eventually("the request is recorded") {
        metrics = (try? await client.get("/metrics").text) ?? ""
        return metrics.contains("/v1/images/generations")
      }
      #expect(metrics.contains(#"status="499""#) && !metrics.contains(#"status="500""#))
    }
  }

  @Test func aConnectionServesOneRequestAfterTheOther() async throws {
    try await withServer(over: .live) { client in
      for seed in 1...3 {
        let answer = try await client.generate(#"{"class": 1, "seed": \#(seed)}"#)
        #expect(answer.status == 200)
        #expect(try answer.json()["data"][0]["seed"].integer == seed)
      }
    }
  }

  @Test func whatIsNotHTTPIsRefused() async throws {
    try await withServer(over: .live) { client in
      for text in ["\u{16}\u{3}\u{1}\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"] {
        let odd = try connection(client)
        odd.send(text)
        try await eventually("the server closes the connection") { odd.received() == nil }
      }
      #expect(try await client.get("/healthz").status == 200)
    }
  }
}
