import Synchronization

/// Memory that requests may hold together, so that many large ones cannot take all of it.
final class MemoryBudget: Sendable {
  private let total: Int
  private let held = Mutex(0)

  /// - Parameter total: In bytes.
  init(total: Int) { self.total = total }

  /// A part of the budget, given back once nobody holds it any more.
  final class Reservation: Sendable {
    private let budget: MemoryBudget
    private let bytes: Int

    fileprivate init(_ budget: MemoryBudget, _ bytes: Int) {
      (self.budget, self.bytes) = (budget, bytes)
    }

    deinit { budget.held.withLock { $0 -= bytes } }
  }

  /// - Throws: ``APIError`` if there is not so much left.
  func reserve(_ bytes: Int) throws(APIError) -> Reservation {
    let fits = held.withLock { held in
      guard held + bytes <= total else { return false }
      held += bytes
      return true
    }
    guard fits else {
      throw .unavailable(
        "too many large requests are being worked on; try again shortly", code: "busy",
        retryAfter: .seconds(2))
    }
    return Reservation(self, bytes)
  }

  var heldBytes: Int { held.withLock { $0 } }
}
