import MVAR
import Pictures
import Synchronization

@testable import MVARServer

/// An engine that draws one colour a picture, waits where a test says so, and fails when told to.
final class FakeEngine: PictureEngine {
  private struct State {
    var batches: [[PictureTask]] = []
    var previews: [Bool] = []
    var drawnScales = 0
    var failures: [any Error] = []
  }

  let facts: EngineFacts
  /// Passed before every scale.
  let gate: Gate
  private let state = Mutex(State())

  init(open: Bool = true, scales: Int = 4, edits: Bool = false) {
    gate = Gate(open: open)
    facts = EngineFacts(
      name: "fake", classes: 1000, width: 8, height: 8,
      schedule: try! ScaleSchedule(squares: Array(1...scales)), dtype: "float32", device: "cpu",
      edits: edits)
  }

  /// What was drawn, batch by batch.
  var batches: [[PictureTask]] { state.withLock { $0.batches } }
  var previews: [Bool] { state.withLock { $0.previews } }
  var drawnScales: Int { state.withLock { $0.drawnScales } }

  /// The next batches fail.
  func fail(with errors: any Error...) { state.withLock { $0.failures += errors } }

  func draw(
    _ tasks: [PictureTask], previews: Bool, report: @Sendable (DrawnScale) async -> Void
  ) async throws {
    state.withLock {
      $0.batches.append(tasks)
      $0.previews.append(previews)
    }
    for scale in facts.scales.indices {
      try await gate.pass()
      let failure = state.withLock { $0.failures.isEmpty ? nil : $0.failures.removeFirst() }
      if let failure { throw failure }
      state.withLock { $0.drawnScales += 1 }
      var pictures: [Int: Picture] = [:]
      if previews || scale == facts.scales.count - 1 {
        for (index, task) in tasks.enumerated() { pictures[index] = Self.picture(task, scale) }
      }
      await report(
        DrawnScale(index: scale, count: facts.scales.count, pictures: pictures))
    }
  }

  /// Red tells the class, green the seed, blue the scale.
  static func picture(_ task: PictureTask, _ scale: Int) -> Picture {
    Picture(
      width: 8, height: 8,
      filledWith: RGB(
        UInt8(truncatingIfNeeded: task.label ?? 255), UInt8(truncatingIfNeeded: task.seed),
        UInt8(scale)))
  }

  func validate(_ task: PictureTask) throws {
    if let label = task.label, !(0..<facts.classes).contains(label) {
      throw MVARError(.invalidValue, "class is \(label); use 0...999")
    }
    try task.settings?.validate()
  }
}

/// Where work waits until a test lets it go on.
actor Gate {
  private var isOpen: Bool
  private var passes = 0
  private var waiting: [Int: CheckedContinuation<Void, any Error>] = [:]
  private var last = 0

  init(open: Bool) { isOpen = open }

  func open() {
    isOpen = true
    for continuation in waiting.values { continuation.resume() }
    waiting = [:]
  }

  func close() { isOpen = false }

  /// Lets one through, now or when it comes.
  func letOne() {
    if let first = waiting.keys.min() {
      waiting.removeValue(forKey: first)!.resume()
    } else {
      passes += 1
    }
  }

  /// Waits until open.
  ///
  /// - Throws: `CancellationError` once the task is cancelled.
  func pass() async throws {
    try Task.checkCancellation()
    if isOpen { return }
    if passes > 0 {
      passes -= 1
      return
    }
    last += 1
    let id = last
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation {
        (continuation: CheckedContinuation<Void, any Error>) in
        if Task.isCancelled {
          continuation.resume(throwing: CancellationError())
        } else {
          waiting[id] = continuation
        }
      }
    } onCancel: {
      Task { await self.giveUp(id) }
    }
  }

  private func giveUp(_ id: Int) {
    waiting.removeValue(forKey: id)?.resume(throwing: CancellationError())
  }
}
