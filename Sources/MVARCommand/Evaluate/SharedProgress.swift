import Synchronization

/// Progress that is told from several tasks: a bar on a terminal, and in a log a line every half minute
/// with the time left.
final class SharedProgress: Sendable {
  private struct State {
    var progress: Progress
    var done = 0
    var first: Int?
    var lastLine: ContinuousClock.Instant
  }

  private let state: Mutex<State>
  private let total: Int
  private let what: String
  private let start = ContinuousClock.now
  private let console: Console

  /// - Parameter what: What is counted, such as "pictures".
  init(_ console: Console, _ total: Int, _ what: String) {
    self.total = total
    self.what = what
    self.console = console
    state = Mutex(State(progress: console.progress(total), lastLine: .now))
  }

  /// Shows that so many are done.
  func reach(_ done: Int) {
    state.withLock { state in
      let first = state.first ?? state.done
      state.first = first
      let steps = done - state.done
      guard steps > 0 else { return }
      state.done = done
      state.progress.advance("\(what) \(done) of \(total)", by: steps)
      guard state.lastLine.duration(to: .now) > .seconds(30) || done == total else { return }
      state.lastLine = .now
      let elapsed = start.duration(to: .now).inSeconds
      let rest = elapsed / Double(max(done - first, 1)) * Double(total - done)
      let left = done < total ? ", \(Int(rest / 60)) min \(Int(rest) % 60) s left" : ""
      state.progress.milestone("\(done) of \(total) \(what)\(left)")
    }
  }

  /// What was done before, which tells nothing of the speed.
  func begin(at done: Int) {
    state.withLock { state in
      state.done = done
      state.first = done
    }
  }

  func finish() { state.withLock { $0.progress.finish() } }
}
