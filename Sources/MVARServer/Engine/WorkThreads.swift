import Dispatch
import Foundation
import Synchronization

/// Threads for what takes long, such as making the file of a large picture.
///
/// They are not those that requests are answered on, of which there are as few as processors: work that
/// held all of them would keep every client waiting, whatever it asks for.
final class WorkThreads: Sendable {
  /// Pieces of work at once; what they hold in memory is bounded by it.
  let count: Int

  private struct State {
    var free: [DispatchQueue]
    /// First come, first served.
    var waiting: [(id: Int, continuation: CheckedContinuation<DispatchQueue, any Error>)] = []
    var lastID = 0
  }

  private let state: Mutex<State>

  /// All processors but one, which answers meanwhile.
  static let usualCount = min(max(ProcessInfo.processInfo.activeProcessorCount - 1, 1), 8)

  init(count: Int = usualCount) {
    self.count = count
    // Each queue runs one piece after the other on a thread of its own.
    state = Mutex(State(free: (0..<count).map { DispatchQueue(label: "mvar.work.\($0)") }))
  }

  /// Does a piece of work once a thread is free.
  ///
  /// - Throws: What the piece throws, or `CancellationError` where the task is cancelled before it.
  func run<R: Sendable>(_ piece: @escaping @Sendable () throws -> R) async throws -> R {
    let thread = try await take()
    defer { give(thread) }
    try Task.checkCancellation()
    return try await withCheckedThrowingContinuation { continuation in
      thread.async { continuation.resume(with: Result(catching: piece)) }
    }
  }

  private func take() async throws -> DispatchQueue {
    let id = state.withLock { state in
      state.lastID += 1
      return state.lastID
    }
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let answer = state.withLock { state -> Result<DispatchQueue, any Error>? in
          if Task.isCancelled { return .failure(CancellationError()) }
          if let free = state.free.popLast() { return .success(free) }
          state.waiting.append((id, continuation))
          return nil
        }
        if let answer { continuation.resume(with: answer) }
      }
    } onCancel: {
      giveUp(id)
    }
  }

  private func giveUp(_ id: Int) {
    let waiting = state.withLock { state in
      state.waiting.firstIndex { $0.id == id }.map { state.waiting.remove(at: $0).continuation }
    }
    waiting?.resume(throwing: CancellationError())
  }

  private func give(_ thread: DispatchQueue) {
    let next = state.withLock { state -> CheckedContinuation<DispatchQueue, any Error>? in
      guard state.waiting.isEmpty else { return state.waiting.removeFirst().continuation }
      state.free.append(thread)
      return nil
    }
    next?.resume(returning: thread)
  }
}
