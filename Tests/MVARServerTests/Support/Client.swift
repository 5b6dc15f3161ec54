import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import MVAR
import NIOCore
import Testing
import TorchTestSupport

@testable import MVARServer

/// Asks a server without a socket.
struct Client {
  let client: any TestClientProtocol
  let server: PictureServer

  struct Answer {
    let status: Int
    let headers: HTTPFields
    let bytes: [UInt8]

    var text: String { String(decoding: bytes, as: UTF8.self) }

    func json() throws -> JSONValue { try JSONDecoder().decode(JSONValue.self, from: Data(bytes)) }

    /// The parts of an error.
    var error: (message: String, type: String, parameter: String?, code: String) {
      let error = (try? json())?["error"]
      return (
        error?["message"].text ?? "no message in \(text.prefix(200))", error?["type"].text ?? "",
        error?["param"].text, error?["code"].text ?? ""
      )
    }

    /// Server-sent events by name.
    func events() throws -> [(name: String, value: JSONValue)] {
      try text.components(separatedBy: "\n\n").filter { !$0.isEmpty }.map { event in
        let lines = event.split(separator: "\n")
        #expect(lines.count == 2 && lines[0].hasPrefix("event: ") && lines[1].hasPrefix("data: "))
        let value = try JSONDecoder().decode(JSONValue.self, from: Data(lines[1].dropFirst(6).utf8))
        return (String(lines[0].dropFirst(7)), value)
      }
    }
  }

  func send(
    _ method: HTTPRequest.Method, _ path: String, _ body: String? = nil,
    bytes: [UInt8]? = nil, headers: HTTPFields = [:]
  ) async throws -> Answer {
    let buffer = bytes.map(ByteBuffer.init(bytes:)) ?? body.map(ByteBuffer.init(string:))
    return try await client.execute(
      uri: path, method: method, headers: headers, body: buffer
    ) { response in
      Answer(
        status: Int(response.status.code), headers: response.headers,
        bytes: Array(response.body.readableBytesView))
    }
  }

  func get(_ path: String, headers: HTTPFields = [:]) async throws -> Answer {
    try await send(.get, path, headers: headers)
  }

  func post(_ path: String, _ body: String, headers: HTTPFields = [:]) async throws -> Answer {
    var headers = headers
    if headers[.contentType] == nil { headers[.contentType] = "application/json" }
    return try await send(.post, path, body, headers: headers)
  }

  func generate(_ body: String) async throws -> Answer {
    try await post("/v1/images/generations", body)
  }
}

/// A server over an engine, ready.
func withServer(
  _ engine: any PictureEngine = FakeEngine(), scheduler: SchedulerConfiguration? = nil,
  over setup: TestingSetup = .router,
  configure: (inout ServerConfiguration) -> Void = { _ in },
  _ body: @Sendable (Client) async throws -> Void
) async throws {
  var configuration = ServerConfiguration()
  configuration.software = "mvar test"
  configuration.port = 0
  configure(&configuration)
  let server = try PictureServer(
    engine: engine, scheduler: scheduler ?? .init(batch: 4, warmUp: []),
    configuration: configuration, logger: quietLogger)
  try await server.application(services: [server.scheduler]).test(setup) { client in
    await server.scheduler.waitUntilReady()
    try await body(Client(client: client, server: server))
  }
}

/// The small recorded model as an engine.
func goldenEngine(edits: Bool = false) async throws -> GeneratorEngine {
  GeneratorEngine(
    try await ImageGenerator(
      model: Golden.mvar64.modelFile, tokenizer: Golden.tokenizerFile,
      options: ComputeOptions(precision: .float32, place: .cpu, threads: 1), edits: edits),
    name: "golden", edits: edits)
}

extension JSONValue {
  subscript(key: String) -> JSONValue {
    guard case .object(let object) = self else { return .null }
    return object[key] ?? .null
  }

  subscript(index: Int) -> JSONValue {
    guard case .list(let list) = self, list.indices.contains(index) else { return .null }
    return list[index]
  }

  var text: String? { if case .text(let text) = self { text } else { nil } }
  var integer: Int? { if case .integer(let number) = self { number } else { nil } }
  var flag: Bool? { if case .flag(let flag) = self { flag } else { nil } }
  var list: [JSONValue] { if case .list(let list) = self { list } else { [] } }
  var object: [String: JSONValue] { if case .object(let object) = self { object } else { [:] } }
}
