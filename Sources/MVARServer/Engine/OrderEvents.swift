import Synchronization

/// What happens to one order, for one reader.
///
/// A reader that is slower than the model sees the newest preview of each picture and never an older
/// one; nothing else is left out. So a slow reader costs no more memory than the order's pictures.
public final class OrderEvents: AsyncSequence, Sendable {
  public typealias Element = OrderEvent

  private struct State {
    var events: [OrderEvent] = []
    var end: Result<Void, any Error>?
    var reader: CheckedContinuation<OrderEvent?, any Error>?
  }

  private let state = Mutex(State())

  func add(_ event: OrderEvent) {
    let reader = state.withLock { state -> CheckedContinuation<OrderEvent?, any Error>? in
      guard state.end == nil else { return nil }
      if let reader = state.reader {
        state.reader = nil
        return reader
      }
      state.events.removeAll { event.replaces($0) }
      state.events.append(event)
      return nil
    }
    reader?.resume(returning: event)
  }

  func finish() { end(.success(())) }
  func finish(throwing error: any Error) { end(.failure(error)) }

  private func end(_ result: Result<Void, any Error>) {
    let reader = state.withLock { state -> CheckedContinuation<OrderEvent?, any Error>? in
      guard state.end == nil else { return nil }
      state.end = result
      // What nobody has read yet is of no use before an error.
      if case .failure = result { state.events = [] }
      defer { state.reader = nil }
      return state.reader
    }
    reader?.resume(with: result.map { nil })
  }

  public func makeAsyncIterator() -> Iterator { Iterator(events: self) }

  public struct Iterator: AsyncIteratorProtocol {
    fileprivate let events: OrderEvents

    /// The next event; nil after the last.
    ///
    /// - Throws: ``OrderFailure``, `CancellationError` once the order was withdrawn or the task
    ///   cancelled.
    public func next() async throws -> OrderEvent? { try await events.next() }
  }

  private func next() async throws -> OrderEvent? {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let answer = state.withLock { state -> Result<OrderEvent?, any Error>? in
          precondition(state.reader == nil, "the events of an order have one reader")
          if !state.events.isEmpty { return .success(state.events.removeFirst()) }
          if let end = state.end { return end.map { nil } }
          state.reader = continuation
          return nil
        }
        if let answer { continuation.resume(with: answer) }
      }
    } onCancel: {
      finish(throwing: CancellationError())
    }
  }
}

extension OrderEvent {
  /// Whether this says all that an older event said.
  fileprivate func replaces(_ older: OrderEvent) -> Bool {
    switch (self, older) {
    case (.queued, .queued): true
    case (.preview(let index, _, _, _), .preview(let other, _, _, _)): index == other
    case (.finished(let index, _), .preview(let other, _, _, _)): index == other
    default: false
    }
  }
}
