import Foundation
import HTTPTypes
import Hummingbird
import MVAR
import NIOCore
import Pictures

/// An answer that is an error, in the shape that images APIs use:
/// `{"error": {"message": …, "type": …, "param": …, "code": …}}`.
struct APIError: Error {
  enum Kind: String {
    case invalidRequest = "invalid_request_error"
    case authentication = "authentication_error"
    case permission = "permission_error"
    case notFound = "not_found_error"
    case rateLimit = "rate_limit_error"
    case server = "server_error"
  }

  var status: HTTPResponse.Status
  var kind: Kind
  /// One line that names the value and the mend.
  var message: String
  var parameter: String?
  var code: String
  var retryAfter: Duration?
  var headers: HTTPFields = [:]

  static func invalid(_ parameter: String?, _ message: String, code: String = "invalid_value")
    -> APIError
  {
    APIError(
      status: .badRequest, kind: .invalidRequest, message: message, parameter: parameter,
      code: code)
  }

  static func unavailable(_ message: String, code: String, retryAfter: Duration?) -> APIError {
    APIError(
      status: .serviceUnavailable, kind: .server, message: message, code: code,
      retryAfter: retryAfter)
  }

  static let `internal` = APIError(
    status: .internalServerError, kind: .server,
    message: "something went wrong here; the server's log has the cause", code: "internal_error")

  struct Body: Encodable {
    struct Content: Encodable {
      let message: String
      let type: String
      let param: String?
      let code: String

      enum CodingKeys: String, CodingKey { case message, type, param, code }

      func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(message, forKey: .message)
        try container.encode(type, forKey: .type)
        // Present even where there is none, as clients of such APIs expect.
        try container.encode(param, forKey: .param)
        try container.encode(code, forKey: .code)
      }
    }

    let error: Content
  }

  var body: Body {
    Body(error: .init(message: message, type: kind.rawValue, param: parameter, code: code))
  }

  var response: Response {
    var response = Response.json(body, status: status)
    response.headers.append(contentsOf: headers)
    if let retryAfter {
      response.headers[.retryAfter] = "\(max(Int(retryAfter.inSeconds.rounded(.up)), 1))"
    }
    return response
  }
}

extension APIError {
  /// What any error means to a client.
  init(_ error: any Error) {
    self =
      switch error {
      case let error as APIError: error
      case let error as OrderFailure: Self.of(error)
      case let error as MVARError: .invalid(nil, error.description)
      case let error as PictureError: Self.of(error)
      case is NIOTooManyBytesError: Self.tooLarge(nil)
      case let error as HTTPError where error.status == .contentTooLarge: Self.tooLarge(nil)
      default: .internal
      }
  }

  static func tooLarge(_ limit: Int?) -> APIError {
    let most = limit.map { "more than \($0) bytes" } ?? "more bytes than are taken"
    return APIError(
      status: .contentTooLarge, kind: .invalidRequest,
      message: "the request's body has \(most); send less", code: "body_too_large")
  }

  /// What follows on the connection cannot be told from the body.
  static func unreadable(_ cause: any Error) -> APIError {
    APIError(
      status: .badRequest, kind: .invalidRequest,
      message:
        "the request's body cannot be read (\(quoted("\(cause)"))); send it in whole chunks, "
        + "or with its Content-Length", code: "invalid_body", headers: [.connection: "close"])
  }

  private static func of(_ error: PictureError) -> APIError {
    var result = APIError.invalid(error.name, error.description, code: "invalid_image")
    if error.kind == .tooLarge { result.status = .contentTooLarge }
    return result
  }

  private static func of(_ failure: OrderFailure) -> APIError {
    switch failure {
    case .queueFull(let waiting, let limit, let retryAfter):
      rateLimit(
        "\(waiting) pictures wait already, of \(limit) at most; try again later", "queue_full",
        retryAfter)
    case .clientQueueFull(let waiting, let limit, let retryAfter):
      rateLimit(
        "\(waiting) of your pictures wait already, of \(limit) at most; wait for some of them",
        "client_queue_full", retryAfter)
    case .orderTooLarge(let count, let limit):
      .invalid("n", "n is \(count); this server takes up to \(limit) pictures at once")
    case .timedOut(let limit, let retryAfter):
      unavailable(
        "the pictures were not finished in \(Int(limit.inSeconds.rounded())) s; try again later, "
          + "or ask for fewer", code: "timeout", retryAfter: retryAfter)
    case .ownTimePassed(let limit):
      APIError(
        status: .requestTimeout, kind: .invalidRequest,
        message: "the pictures were not finished in the \(limit.inSeconds) s that the request "
          + "gives them; raise timeout, or ask for fewer", parameter: "timeout", code: "timeout")
    case .shuttingDown:
      unavailable(
        "the server is stopping; try again later", code: "shutting_down",
        retryAfter: .seconds(10))
    case .starting:
      unavailable(
        "the model is being prepared; try again shortly", code: "starting",
        retryAfter: .seconds(5))
    case .engine(let outOfMemory, let retryAfter):
      unavailable(
        outOfMemory
          ? "the model ran out of memory; try again, or ask for fewer pictures"
          : "the model failed to draw; try again",
        code: outOfMemory ? "out_of_memory" : "engine_error", retryAfter: retryAfter)
    }
  }

  private static func rateLimit(_ message: String, _ code: String, _ retryAfter: Duration)
    -> APIError
  {
    APIError(
      status: .tooManyRequests, kind: .rateLimit, message: message, code: code,
      retryAfter: retryAfter)
  }
}

extension Response {
  /// JSON with its keys in order.
  static func json(_ value: some Encodable, status: HTTPResponse.Status = .ok) -> Response {
    Response(
      status: status, headers: [.contentType: "application/json"],
      body: .init(byteBuffer: ByteBuffer(bytes: JSONText.of(value))))
  }
}

enum JSONText {
  /// The bytes of a value made of texts and finite numbers, which cannot fail to be written.
  static func of(_ value: some Encodable) -> Data {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    do { return try encoder.encode(value) } catch {
      preconditionFailure("\(type(of: value)) cannot be written as JSON: \(error)")
    }
  }
}
