import Foundation
import Synchronization

/// Finished pictures that wait in memory to be fetched by whoever knows their name.
///
/// Names have 128 random bits. The oldest make room for new ones, though not those of an answer that is
/// still being made; and none stays for long.
final class ImageResults: Sendable {
  static let route = "/v1/images/results/{name}"
  static let folder = "/v1/images/results/"

  struct Result: Sendable {
    let bytes: [UInt8]
    let type: String
    fileprivate let expires: ContinuousClock.Instant
    fileprivate let answer: Int
  }

  private struct State {
    var results: [String: Result] = [:]
    /// Oldest first.
    var order: [String] = []
    var bytes = 0
    /// Bytes of each answer that is not finished.
    var unfinished: [Int: Int] = [:]
    var lastAnswer = 0
  }

  private let state = Mutex(State())
  private let byteLimit: Int
  private let lifetime: Duration

  init(byteLimit: Int, lifetime: Duration) {
    self.byteLimit = byteLimit
    self.lifetime = lifetime
  }

  /// The results of one answer, which is unfinished as long as this lives.
  final class Answer: Sendable {
    private let results: ImageResults
    private let id: Int

    fileprivate init(_ results: ImageResults, _ id: Int) { (self.results, self.id) = (results, id) }

    deinit { results.state.withLock { $0.unfinished[id] = nil } }

    /// Keeps a file.
    ///
    /// - Returns: Its name.
    /// - Throws: ``APIError`` if there is no room for all of the answer.
    func keep(_ bytes: [UInt8], format: ImageParameters.Format) throws(APIError) -> String {
      try results.keep(bytes, format, id)
    }
  }

  func answer() -> Answer {
    let id = state.withLock { state in
      state.lastAnswer += 1
      state.unfinished[state.lastAnswer] = 0
      return state.lastAnswer
    }
    return Answer(self, id)
  }

  private func keep(_ bytes: [UInt8], _ format: ImageParameters.Format, _ answer: Int)
    throws(APIError) -> String
  {
    let name = Self.newName(format)
    let result = Result(
      bytes: bytes, type: "image/\(format.rawValue)", expires: .now + lifetime, answer: answer)
    try state.withLock { state throws(APIError) in
      let own = state.unfinished[answer, default: 0] + bytes.count
      guard own <= byteLimit else { throw tooLarge }
      Self.makeRoom(&state, byteLimit - bytes.count)
      guard state.bytes + bytes.count <= byteLimit else { throw Self.busy }
      state.unfinished[answer] = own
      state.results[name] = result
      state.order.append(name)
      state.bytes += bytes.count
    }
    return name
  }

  private static func newName(_ format: ImageParameters.Format) -> String {
    var random = SystemRandomNumberGenerator()
    let digits = [random.next(), random.next()].map { number in
      let text = String(number, radix: 16)
      return String(repeating: "0", count: 16 - text.count) + text
    }
    return "\(digits.joined()).\(format.rawValue)"
  }

  private var tooLarge: APIError {
    APIError(
      status: .contentTooLarge, kind: .invalidRequest,
      message:
        "the pictures' files have more than \(byteLimit) bytes together, which is all that is "
        + "kept here; ask for fewer, for another output_format, or for b64_json",
      parameter: "response_format", code: "results_too_large")
  }

  private static var busy: APIError {
    .unavailable(
      "the pictures of other requests take all the room for results; try again shortly, or ask for "
        + "b64_json", code: "busy", retryAfter: .seconds(5))
  }

  subscript(name: String) -> Result? {
    state.withLock { state in
      Self.makeRoom(&state, byteLimit)
      return state.results[name]
    }
  }

  var totalBytes: Int { state.withLock { $0.bytes } }

  /// Drops what has expired, and then the oldest of finished answers until `bytes` are left at most.
  private static func makeRoom(_ state: inout State, _ bytes: Int) {
    let now = ContinuousClock.now
    for name in state.order {
      guard let result = state.results[name] else { continue }
      let isInTheWay = state.bytes > bytes && state.unfinished[result.answer] == nil
      guard result.expires <= now || isInTheWay else { continue }
      state.results[name] = nil
      state.bytes -= result.bytes.count
    }
    if state.order.count > state.results.count {
      state.order.removeAll { state.results[$0] == nil }
    }
  }
}
