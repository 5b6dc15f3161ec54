import Foundation
import Synchronization

/// Finished pictures that wait in memory to be fetched by whoever knows their name.
///
/// Names have 128 random bits. The oldest make room for new ones, and none stays for long.
final class ImageResults: Sendable {
  static let route = "/v1/images/results/{name}"
  static let folder = "/v1/images/results/"

  struct Result: Sendable {
    let bytes: [UInt8]
    let type: String
    fileprivate let expires: ContinuousClock.Instant
  }

  private struct State {
    var results: [String: Result] = [:]
    /// Oldest first.
    var order: [String] = []
    var bytes = 0
  }

  private let state = Mutex(State())
  private let byteLimit: Int
  private let lifetime: Duration

  init(byteLimit: Int, lifetime: Duration) {
    self.byteLimit = byteLimit
    self.lifetime = lifetime
  }

  /// Keeps a file.
  ///
  /// - Returns: Its name.
  func keep(_ bytes: [UInt8], format: ImageParameters.Format) -> String {
    var random = SystemRandomNumberGenerator()
    let digits = [random.next(), random.next()].map { number in
      let text = String(number, radix: 16)
      return String(repeating: "0", count: 16 - text.count) + text
    }
    let name = "\(digits.joined()).\(format.rawValue)"
    let result = Result(
      bytes: bytes, type: "image/\(format.rawValue)", expires: .now + lifetime)
    state.withLock { state in
      state.results[name] = result
      state.order.append(name)
      state.bytes += bytes.count
      Self.tidy(&state, byteLimit)
    }
    return name
  }

  subscript(name: String) -> Result? {
    state.withLock { state in
      Self.tidy(&state, byteLimit)
      return state.results[name]
    }
  }

  var totalBytes: Int { state.withLock { $0.bytes } }

  private static func tidy(_ state: inout State, _ byteLimit: Int) {
    let now = ContinuousClock.now
    while let oldest = state.order.first, let result = state.results[oldest],
      result.expires <= now || (state.bytes > byteLimit && state.order.count > 1)
    {
      state.order.removeFirst()
      state.results[oldest] = nil
      state.bytes -= result.bytes.count
    }
  }
}
