import Synchronization

/// Whether the client of a connection is still there.
final class ClientPresence: Sendable {
  private struct State {
    var isGone = false
    var last = 0
    var callbacks: [Int: @Sendable () -> Void] = [:]
  }

  private let state = Mutex(State())

  /// Of a client that has left.
  static let gone: ClientPresence = {
    let presence = ClientPresence()
    presence.leave()
    return presence
  }()

  var isGone: Bool { state.withLock { $0.isGone } }

  /// Calls back once the client is gone; at once if it is already.
  ///
  /// - Returns: What ``forget(_:)`` takes.
  func whenGone(_ callback: @escaping @Sendable () -> Void) -> Int? {
    let id: Int? = state.withLock { state in
      guard !state.isGone else { return nil }
      state.last += 1
      state.callbacks[state.last] = callback
      return state.last
    }
    if id == nil { callback() }
    return id
  }

  func forget(_ id: Int?) {
    if let id { state.withLock { $0.callbacks[id] = nil } }
  }

  func leave() {
    let callbacks = state.withLock { state in
      defer { (state.isGone, state.callbacks) = (true, [:]) }
      return Array(state.callbacks.values)
    }
    for callback in callbacks { callback() }
  }
}
