import Foundation
import ModelHub
import Synchronization

/// Fetches files and shows how far it has come.
struct PullRun {
  let hub: ModelHub
  let console: Console

  /// Fetches a checkpoint, of an index its shards too.
  func pull(_ file: HubFile) async throws -> [ModelHub.Pulled] {
    let display = PullDisplay(console)
    defer { display.finish() }
    do {
      let pulled = try await hub.pullCheckpoint(file) { display.show($0, $1) }
      display.finish()
      for one in pulled { tell(one) }
      return pulled
    } catch is CancellationError {
      display.finish()
      let bytes = hub.cache.partialBytes(of: file.repository)
      if bytes > 0 {
        console.note(
          "\(Quantity.bytes(bytes)) of \(file) are kept; the same command goes on from there")
      }
      throw CancellationError()
    }
  }

  private func tell(_ pulled: ModelHub.Pulled) {
    switch pulled.origin {
    case .unasked where !hub.settings.isOffline:
      console.note(
        "\(pulled.file): \(hub.settings.endpoint) cannot be reached; the copy that is here is used")
    case .fetched where !pulled.isChecked:
      console.note(
        "\(pulled.file): the server names no digest, so that only its length was checked")
    default: break
    }
  }
}

/// The progress of what is fetched, file after file.
private final class PullDisplay: Sendable {
  private let console: Console
  private let state = Mutex(State())

  private struct State {
    var progress: Progress?
    var present = 0
    var start = 0
    var total: Int?
    var begin = ContinuousClock.now
    var shown = ContinuousClock.now - .seconds(1)
  }

  init(_ console: Console) { self.console = console }

  func show(_ file: HubFile, _ event: ModelHub.Event) {
    state.withLock { state in
      switch event {
      case .started(let present, let total):
        state.progress?.finish()
        state = State()
        (state.present, state.start, state.total) = (present, present, total)
        state.progress = console.progress(max((total ?? 0) - present, 1))
        if present > 0 {
          console.note("\(file): going on after \(Quantity.bytes(present))")
        }
      case .received(let present): received(file, present, &state)
      case .checking:
        state.progress?.milestone("\(file): \(Quantity.bytes(state.present)) received")
        state.progress?.advance("\(file.shortName) · checking", by: 0)
      case .retrying(let reason, let wait):
        state.progress?.finish()
        let seconds = Int(wait.inSeconds.rounded(.up))
        console.note("\(file): \(reason); trying again\(seconds > 0 ? " in \(seconds) s" : "")")
      case .waiting: console.note("\(file): another process is fetching it; waiting for that")
      }
    }
  }

  private func received(_ file: HubFile, _ present: Int, _ state: inout State) {
    let now = ContinuousClock.now
    let isLast = present == state.total
    guard isLast || state.shown.duration(to: now) > .milliseconds(100) else { return }
    state.shown = now
    let seconds = max(state.begin.duration(to: now).inSeconds, 1e-3)
    let rate = Int(Double(max(present - state.start, 0)) / seconds)
    let of = state.total.map { " of \(Quantity.bytes($0))" } ?? ""
    let label =
      "\(file.shortName) · \(Quantity.bytes(present))\(of) · \(Quantity.bytes(rate))/s"
    state.progress?.advance(label, by: max(present - state.present, 0))
    state.present = present
  }

  func finish() {
    state.withLock { state in
      state.progress?.finish()
      state.progress = nil
    }
  }
}
