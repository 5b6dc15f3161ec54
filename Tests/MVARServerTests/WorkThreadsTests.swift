import ClassNames
import Dispatch
import Foundation
import Pictures
import Synchronization
import Testing

@testable import MVARServer

/// Work that takes long, apart from what answers requests.
struct WorkThreadsTests {
  /// How many pieces are under way, and have been at most.
  private final class Load: Sendable {
    private let state = Mutex((now: 0, most: 0))

    var most: Int { state.withLock { $0.most } }

    func begin() {
      state.withLock { state in
        state.now += 1
        state.most = max(state.most, state.now)
      }
    }

    func end() { state.withLock { $0.now -= 1 } }
  }

  @Test func onlySoManyPiecesAreUnderWayAtOnce() async throws {
    let (threads, load) = (WorkThreads(count: 2), Load())
    let results = try await withThrowingTaskGroup(of: Int.self) { group in
      for index in 0..<8 {
        group.addTask {
          try await threads.run {
            load.begin()
            Thread.sleep(forTimeInterval: 0.02)
            load.end()
            return index
          }
        }
      }
      return try await group.reduce(into: Set()) { $0.insert($1) }
    }
    #expect(results == Set(0..<8))
    #expect(load.most == 2)
  }

  @Test(arguments: [60, 1000]) func piecesThatHoldMuchMemoryTakeTurns(_ bytes: Int) async throws {
    let (threads, load) = (WorkThreads(count: 4, memory: 100), Load())
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<6 {
        group.addTask {
          try await threads.run(holding: bytes) {
            load.begin()
            Thread.sleep(forTimeInterval: 0.02)
            load.end()
          }
        }
      }
      try await group.waitForAll()
    }
    #expect(load.most == 1)
  }

  /// Small pieces do not wait for memory, nor for those that do; and whoever gives up is waited for no more.
  @Test func othersGoOnWhileAPieceWaitsForMemory() async throws {
    let (threads, gate) = (WorkThreads(count: 4, memory: 100), DispatchSemaphore(value: 0))
    async let first: Void = threads.run(holding: 60) { gate.wait() }
    let second = Task { try await threads.run(holding: 60) { gate.wait() } }
    #expect(try await threads.run { 7 } == 7)
    let third = Task { try await threads.run(holding: 40) { 8 } }
    second.cancel()
    #expect(try await third.value == 8)
    for _ in 0..<2 { gate.signal() }
    try await first
    _ = await second.result
    #expect(try await threads.run(holding: 1000) { 9 } == 9)
  }

  /// Nor where a piece alone holds more than all of the memory.
  @Test func othersGoOnBesideAPieceThatNeedsMoreThanAll() async throws {
    let (threads, load) = (WorkThreads(count: 2, memory: 100), Load())
    let gate = DispatchSemaphore(value: 0)
    async let waited = threads.run(holding: 1000) {
      load.begin()
      return gate.wait(timeout: .now() + 30)
    }
    while load.most == 0 { await Task.yield() }
    #expect(try await threads.run { 7 } == 7)
    gate.signal()
    #expect(try await waited == .success)
  }

  @Test func othersGoOnMeanwhile() async throws {
    let count = 2 * ProcessInfo.processInfo.activeProcessorCount
    let (threads, gate) = (WorkThreads(count: count), DispatchSemaphore(value: 0))
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<count {
        group.addTask { try await threads.run { gate.wait() } }
      }
      // As many pieces as are here hold every thread that tasks have, if they run on those.
      for _ in 0..<100 { await Task.detached { await Task.yield() }.value }
      for _ in 0..<count { gate.signal() }
      try await group.waitForAll()
    }
  }

  @Test func whatIsCancelledBeforeItsTurnIsNotDone() async throws {
    let (threads, gate, load) = (WorkThreads(count: 1), DispatchSemaphore(value: 0), Load())
    async let first: Void = threads.run { gate.wait() }
    try await Task.sleep(for: .milliseconds(20))
    await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await threads.run { load.begin() } }
      group.cancelAll()
      await #expect(throws: CancellationError.self) { try await group.waitForAll() }
    }
    gate.signal()
    try await first
    #expect(load.most == 0)
    #expect(try await threads.run { 7 } == 7)
  }

  /// Of two pictures, the first is finished; its file has a side of `side` pixels.
  private func answer(side: Int, for client: ClientPresence?) async throws -> [ImageData] {
    let facts = FakeEngine().facts
    var fields = RequestFields([
      "class": .json(.integer(1)), "n": .json(.integer(2)), "output_format": .json(.text("webp")),
    ])
    let delivery = Delivery(
      parameters: try ImageParameters(&fields, facts, .imageNet, maxCount: 2), facts: facts,
      kind: "image_generation", size: facts.size, software: "test",
      results: ImageResults(byteLimit: 1, lifetime: .zero).answer(), threads: WorkThreads(count: 1),
      base: "", finish: { _ in Picture(width: side, height: 1, filledWith: .black) })
    let events = OrderEvents()
    events.add(.finished(index: 0, picture: Picture(width: 1, height: 1, filledWith: .black)))
    return try await delivery.images(events, for: client)
  }

  /// Of two pictures of one request as well.
  @Test func picturesThatTakeMuchMemoryAreFinishedInTurn() async throws {
    let load = Load()
    let facts = FakeEngine().facts
    var fields = RequestFields(["class": .json(.integer(1)), "n": .json(.integer(2))])
    let delivery = Delivery(
      parameters: try ImageParameters(&fields, facts, .imageNet, maxCount: 2), facts: facts,
      kind: "image_edit", size: facts.size, software: "test",
      results: ImageResults(byteLimit: 1, lifetime: .zero).answer(),
      threads: WorkThreads(count: 2, memory: 100), base: "",
      finish: { picture in
        load.begin()
        Thread.sleep(forTimeInterval: 0.02)
        load.end()
        return picture
      }, finishingBytes: 60)
    let events = OrderEvents()
    for index in 0..<2 {
      events.add(.finished(index: index, picture: Picture(width: 1, height: 1, filledWith: .black)))
    }
    events.finish()
    #expect(try await delivery.images(events, for: nil).count == 2)
    // And those of streams.
    let picture = Picture(width: 1, height: 1, filledWith: .black)
    async let first = delivery.text(of: .finished(index: 0, picture: picture))
    async let second = delivery.text(of: .finished(index: 1, picture: picture))
    #expect(try await [first, second].allSatisfy { $0 != nil })
    #expect(load.most == 1)
  }

  /// The other pictures of the order are not waited for.
  @Test func aFileThatCannotBeMadeEndsItsAnswer() async throws {
    let error = await #expect(throws: PictureError.self) {
      try await answer(side: 20_000, for: nil)
    }
    #expect(error?.kind == .tooLarge)
  }

  @Test func noFilesAreMadeForWhoHasLeft() async throws {
    await #expect(throws: CancellationError.self) { try await answer(side: 1, for: .gone) }
  }
}
