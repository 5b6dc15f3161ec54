import HTTPTypes
import Hummingbird

/// Counts, times and logs each request.
struct RequestRecord: RouterMiddleware {
  typealias Context = ServerContext

  let metrics: ServerMetrics

  func handle(
    _ request: Request, context: ServerContext,
    next: (Request, ServerContext) async throws -> Response
  ) async throws -> Response {
    let start = ContinuousClock.now
    let method = request.method.rawValue
    var response = try await next(request, context)
    let status = Int(response.status.code)
    // Written out: a context holds its channel, and a record must not.
    let (route, address, logger) = (
      context.endpointPath ?? "none", context.address, context.logger
    )
    let record = { @Sendable [metrics] (isWhole: Bool) in
      let seconds = start.duration(to: .now).inSeconds
      let status = isWhole ? status : Int(HTTPResponse.Status.clientClosedRequest.code)
      metrics.answered(route: route, method: known(method), status: status, seconds: seconds)
      logger.info(
        "request",
        metadata: [
          "route": "\(route)", "method": "\(method)", "status": .stringConvertible(status),
          "seconds": .stringConvertible((seconds * 1e6).rounded() / 1e6), "client": "\(address)",
        ])
    }
    guard response.body.contentLength == nil else {
      record(true)
      return response
    }
    let body = response.body
    response.body = ResponseBody { writer in
      do { try await body.write(writer) } catch {
        record(false)
        throw error
      }
      record(true)
    }
    return response
  }
}

/// Methods that nobody knows must not make new series.
private func known(_ method: String) -> String {
  ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"].contains(method) ? method : "other"
}
