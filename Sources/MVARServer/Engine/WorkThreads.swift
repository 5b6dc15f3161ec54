import Dispatch
import Foundation
import Synchronization

/// Threads for what takes long, such as making the file of a large picture.
///
/// They are not those that requests are answered on, of which there are as few as processors: work that
/// held all of them would keep every client waiting, whatever it asks for.
final class WorkThreads: Sendable {
  /// Pieces of work at once.
  let count: Int

  private struct Waiting {
    let id: Int
    let bytes: Int
    let continuation: CheckedContinuation<DispatchQueue, any Error>
  }

  private struct State {
    var free: [DispatchQueue]
    /// Bytes that the pieces under way hold together, at most `limit` unless one alone needs more.
    var held = 0
    let limit: Int
    /// Oldest first.
    var waiting: [Waiting] = []
    var lastID = 0

    /// A thread for a piece of work, where it can begin now.
    mutating func thread(for bytes: Int) -> DispatchQueue? {
      guard bytes == 0 || held == 0 || held + bytes <= limit, let thread = free.popLast() else {
        return nil
      }
      held += bytes
      return thread
    }

    /// The next that waits and can begin now. What holds memory does so first come, first served, or
    /// small pieces would keep a large one waiting for ever; the rest need not wait for it.
    mutating func next() -> (Waiting, DispatchQueue)? {
      let firstHolding = waiting.firstIndex { $0.bytes > 0 }
      for (index, piece) in waiting.enumerated() where piece.bytes == 0 || index == firstHolding {
        if let thread = thread(for: piece.bytes) { return (waiting.remove(at: index), thread) }
      }
      return nil
    }
  }

  private let state: Mutex<State>

  /// All processors but one, which answers meanwhile.
  static let usualCount = min(max(ProcessInfo.processInfo.activeProcessorCount - 1, 1), 8)

  /// - Parameter memory: Bytes that pieces of work at once may hold together.
  init(count: Int = usualCount, memory: Int = 512 << 20) {
    self.count = count
    // Each queue runs one piece after the other on a thread of its own.
    let threads = (0..<count).map { DispatchQueue(label: "mvar.work.\($0)") }
    state = Mutex(State(free: threads, limit: memory))
  }

  /// Does a piece of work once a thread is free, and the memory that it needs.
  ///
  /// - Parameter bytes: What it holds for as long as it takes, where that is much. A piece that needs
  ///   more than all of the memory is done while no other holds any.
  /// - Throws: What the piece throws, or `CancellationError` where the task is cancelled before it.
  func run<R: Sendable>(
    holding bytes: Int = 0, _ piece: @escaping @Sendable () throws -> R
  ) async throws -> R {
    let thread = try await take(bytes)
    defer { give(thread, bytes) }
    try Task.checkCancellation()
    return try await withCheckedThrowingContinuation { continuation in
      thread.async { continuation.resume(with: Result(catching: piece)) }
    }
  }

  private func take(_ bytes: Int) async throws -> DispatchQueue {
    let id = state.withLock { state in
      state.lastID += 1
      return state.lastID
    }
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let answer = state.withLock { state -> Result<DispatchQueue, any Error>? in
          if Task.isCancelled { return .failure(CancellationError()) }
          state.waiting.append(Waiting(id: id, bytes: bytes, continuation: continuation))
          return nil
        }
        if let answer { continuation.resume(with: answer) }
        letIn()
      }
    } onCancel: {
      giveUp(id)
    }
  }

  /// Lets those begin that can.
  private func letIn() {
    while let (piece, thread) = state.withLock({ $0.next() }) {
      piece.continuation.resume(returning: thread)
    }
  }

  private func giveUp(_ id: Int) {
    let waiting = state.withLock { state in
      state.waiting.firstIndex { $0.id == id }.map { state.waiting.remove(at: $0).continuation }
    }
    waiting?.resume(throwing: CancellationError())
    letIn()
  }

  private func give(_ thread: DispatchQueue, _ bytes: Int) {
    state.withLock { state in
      state.free.append(thread)
      state.held -= bytes
    }
    letIn()
  }
}
