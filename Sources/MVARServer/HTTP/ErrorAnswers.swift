import HTTPTypes
import Hummingbird

/// Turns every error into an answer in the API's shape.
struct ErrorAnswers: RouterMiddleware {
  typealias Context = ServerContext

  let routes: RouteTable

  func handle(
    _ request: Request, context: ServerContext,
    next: (Request, ServerContext) async throws -> Response
  ) async throws -> Response {
    do { return try await next(request, context) } catch {
      let response = answer(to: error, request, context)
      // A body after the head of such an answer is taken for the next answer.
      return request.method == .head ? response.createHeadResponse() : response
    }
  }

  private func answer(to error: any Error, _ request: Request, _ context: ServerContext) -> Response
  {
    switch error {
    case let error as HTTPError where error.status == .notFound:
      return missing(request).response
    case is CancellationError:
      // Nobody is there to read it; the record of the request shows it.
      return Response(status: .clientClosedRequest)
    default:
      let answer = APIError(error)
      if answer.status == .internalServerError {
        context.logger.error("unexpected error", metadata: ["error": "\(error)"])
      }
      return answer.response
    }
  }

  private func missing(_ request: Request) -> APIError {
    if let methods = routes.methods(of: request.uri.path) {
      return APIError(
        status: .methodNotAllowed, kind: .invalidRequest,
        message: "\(request.method) is not possible here; use \(methods)",
        code: "method_not_allowed", headers: [.allow: methods])
    }
    return APIError(
      status: .notFound, kind: .notFound,
      message: "there is nothing at \(quoted(request.uri.path)); /openapi.json tells what there is",
      code: "not_found")
  }
}

extension HTTPResponse.Status {
  /// What servers record for a client that went away before its answer.
  static let clientClosedRequest = HTTPResponse.Status(
    code: 499, reasonPhrase: "Client Closed Request")
}
