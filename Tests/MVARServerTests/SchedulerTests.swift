import MVAR
import Pictures
import Testing
import Torch

@testable import MVARServer

/// Batches, turns, limits and failures, with an engine that does what a test says.
struct SchedulerTests {
  private let out = TorchError(kind: .outOfMemory, operation: "test", message: "out of memory")

  private func pictures(_ placed: PictureScheduler.PlacedOrder) async throws -> [Int: Picture] {
    var pictures: [Int: Picture] = [:]
    for try await event in placed.events {
      if case .finished(let index, let picture) = event { pictures[index] = picture }
    }
    return pictures
  }

  private func pictures(of order: Order, _ scheduler: PictureScheduler) async throws
    -> [Int: Picture]
  {
    try await pictures(try await scheduler.submit(order))
  }

  private func configuration(
    batch: Int = 4, queue: Int = 8, perAddress: Int? = nil, timeout: Duration = .seconds(600)
  ) -> SchedulerConfiguration {
    SchedulerConfiguration(
      batch: batch, queue: queue, queuePerAddress: perAddress, timeout: timeout, warmUp: [])
  }

  @Test func ordersShareBatchesInTurns() async throws {
    let engine = FakeEngine(open: false)
    try await withScheduler(engine, configuration()) { scheduler in
      let first = try await scheduler.submit(order(1, from: "z", seed: 9))
      try await eventually("the first batch begins") { engine.batches.count == 1 }
      let a = try await scheduler.submit(order(3, from: "a", label: 1, seed: 10))
      let b = try await scheduler.submit(order(2, from: "b", label: 2, seed: 20))
      await engine.gate.open()
      let (ofFirst, ofA, ofB) = (
        try await pictures(first), try await pictures(a), try await pictures(b)
      )
      #expect(ofFirst.count == 1 && ofA.count == 3 && ofB.count == 2)
      for (index, picture) in ofA {
        #expect(picture[0, 0] == RGB(1, UInt8(10 + index), 3))
      }
      for (index, picture) in ofB {
        #expect(picture[0, 0] == RGB(2, UInt8(20 + index), 3))
      }
      let labels = engine.batches.map { $0.map(\.label) }
      #expect(labels == [[0], [1, 2, 1, 2], [1]])
    }
  }

  @Test func onlyWhoWatchesGetsPreviews() async throws {
    let engine = FakeEngine(open: false)
    try await withScheduler(engine, configuration()) { scheduler in
      let first = try await scheduler.submit(order(seed: 1))
      try await eventually("the first batch begins") { engine.batches.count == 1 }
      let watching = try await scheduler.submit(order(from: "b", seed: 2, previews: true))
      let other = try await scheduler.submit(order(from: "c", seed: 3))
      let reader = Task {
        var scales: [Int] = []
        for try await event in watching.events {
          if case .preview(_, let scale, _, let picture) = event {
            scales.append(scale)
            #expect(picture[0, 0] == RGB(0, 2, UInt8(scale)))
          }
          if case .finished = event { scales.append(99) }
        }
        return scales
      }
      await engine.gate.open()
      _ = try await pictures(first)
      var others: [String] = []
      for try await event in other.events {
        switch event {
        case .queued: others.append("queued")
        case .preview: others.append("preview")
        case .finished: others.append("finished")
        }
      }
      #expect(others == ["queued", "finished"])
      // A reader that is late sees fewer previews, never an older one after a newer one.
      let scales = try await reader.value
      #expect(scales.last == 99 && scales == scales.sorted())
      #expect(engine.previews == [false, true])
    }
  }

  // MARK: Limits

  @Test func aFullQueueSaysWhenToComeAgain() async throws {
    let engine = FakeEngine(open: false)
    try await withScheduler(engine, configuration(batch: 2, queue: 4)) { scheduler in
      let running = try await scheduler.submit(order(2))
      try await eventually("a batch begins") { engine.batches.count == 1 }
      let waiting = try await scheduler.submit(order(3, from: "b"))
      do {
        _ = try await scheduler.submit(order(2, from: "c"))
        Issue.record("an order above the limit was taken")
      } catch OrderFailure.queueFull(let waiting, let limit, let retryAfter) {
        #expect(waiting == 3 && limit == 4 && retryAfter >= .seconds(1))
      }
      // What fits is taken all the same.
      let small = try await scheduler.submit(order(1, from: "c"))
      await engine.gate.open()
      #expect(try await pictures(running).count == 2)
      #expect(try await pictures(waiting).count == 3)
      #expect(try await pictures(small).count == 1)
    }
  }

  @Test func oneAddressCannotFillTheQueue() async throws {
    let engine = FakeEngine(open: false)
    try await withScheduler(engine, configuration(batch: 1, queue: 4, perAddress: 2)) { scheduler in
      _ = try await scheduler.submit(order(1))
      try await eventually("a batch begins") { engine.batches.count == 1 }
      _ = try await scheduler.submit(order(2))
      await #expect(throws: OrderFailure.self) { try await scheduler.submit(order(1)) }
      _ = try await scheduler.submit(order(2, from: "b"))
      await #expect(throws: OrderFailure.orderTooLarge(count: 3, limit: 2)) {
        try await scheduler.submit(order(3, from: "c"))
      }
      await engine.gate.open()
    }
  }

  @Test func aTaskThatMakesNoSenseIsRefusedAlone() async throws {
    let engine = FakeEngine()
    try await withScheduler(engine, configuration()) { scheduler in
      await #expect(throws: MVARError.self) { try await scheduler.submit(order(label: 1000)) }
      let drawn = try await pictures(of: order(label: 999), scheduler)
      #expect(drawn.count == 1)
    }
  }

  @Test func anOrderThatTakesTooLongIsGivenUp() async throws {
    let engine = FakeEngine(open: false)
    try await withScheduler(engine, configuration(batch: 1)) { scheduler in
      let slow = try await scheduler.submit(order(1, timeout: .milliseconds(20)))
      let queued = try await scheduler.submit(order(2, timeout: .milliseconds(20)))
      for placed in [slow, queued] {
        do {
          _ = try await pictures(placed)
          Issue.record("an order outlived its time")
        } catch OrderFailure.ownTimePassed(let limit) {
          #expect(limit == .milliseconds(20))
        }
      }
      // Nobody waits for the batch any more, so that it stopped; the next one is drawn.
      try await eventually("the batch stops") { await scheduler.load == (0, 0) }
      await engine.gate.open()
      #expect(try await pictures(of: order(1), scheduler).count == 1)
    }
  }

  @Test func anOrderThatOutlastsTheServersLimitIsGivenUp() async throws {
    let limit = Duration.milliseconds(20)
    try await withScheduler(FakeEngine(open: false), configuration(timeout: limit)) { scheduler in
      for asked in [nil, Duration.seconds(60)] {
        let placed = try await scheduler.submit(order(1, timeout: asked))
        do {
          _ = try await pictures(placed)
          Issue.record("an order outlived the server's limit")
        } catch OrderFailure.timedOut(let after, _) {
          #expect(after == limit)
        }
      }
    }
  }

  // MARK: Losing interest

  @Test func aBatchNobodyWaitsForStops() async throws {
    let engine = FakeEngine(open: false, scales: 10)
    try await withScheduler(engine, configuration()) { scheduler in
      let placed = try await scheduler.submit(order(2))
      try await eventually("a batch begins") { engine.batches.count == 1 }
      await engine.gate.letOne()
      try await eventually("a scale is drawn") { engine.drawnScales == 1 }
      await scheduler.withdraw(placed)
      try await eventually("the batch stops") { await scheduler.load.running == 0 }
      #expect(engine.drawnScales == 1)
      await #expect(throws: CancellationError.self) { try await pictures(placed) }
      await engine.gate.open()
      #expect(try await pictures(of: order(1), scheduler).count == 1)
    }
  }

  @Test func aBatchSomebodyWaitsForGoesOn() async throws {
    let engine = FakeEngine(open: false)
    try await withScheduler(engine, configuration()) { scheduler in
      let first = try await scheduler.submit(order(1))
      try await eventually("the first batch begins") { engine.batches.count == 1 }
      let leaving = try await scheduler.submit(order(1, from: "a", seed: 5))
      let staying = try await scheduler.submit(order(1, from: "b", seed: 6))
      for _ in 1...4 { await engine.gate.letOne() }
      try await eventually("the second batch begins") { engine.batches.count == 2 }
      await scheduler.withdraw(leaving)
      await engine.gate.open()
      #expect(try await pictures(first).count == 1)
      #expect(try await pictures(staying)[0]?[0, 0] == RGB(0, 6, 3))
    }
  }

  @Test func whatIsWithdrawnIsNotDrawn() async throws {
    let engine = FakeEngine(open: false)
    try await withScheduler(engine, configuration()) { scheduler in
      let first = try await scheduler.submit(order(1))
      try await eventually("a batch begins") { engine.batches.count == 1 }
      let gone = try await scheduler.submit(order(3, from: "b"))
      await scheduler.withdraw(gone)
      #expect(await scheduler.load == (0, 1))
      await engine.gate.open()
      _ = try await pictures(first)
      _ = try await pictures(of: order(1, label: 7), scheduler)
      #expect(engine.batches.map { $0.map(\.label) } == [[0], [7]])
    }
  }

  // MARK: Failures

  @Test func theOrderAfterOneThatRanOutOfMemorySucceeds() async throws {
    let engine = FakeEngine()
    engine.fail(with: out)
    try await withScheduler(engine, configuration()) { scheduler in
      do {
        _ = try await pictures(of: order(4), scheduler)
        Issue.record("no failure came through")
      } catch OrderFailure.engine(let outOfMemory, _) {
        #expect(outOfMemory)
      }
      #expect(try await pictures(of: order(4), scheduler).count == 4)
      // The limit was halved.
      #expect(engine.batches.map(\.count) == [4, 2, 2])
    }
  }

  @Test func anErrorOfTheEngineFailsItsBatchAlone() async throws {
    let engine = FakeEngine()
    engine.fail(with: TorchError(kind: .operation, operation: "test", message: "broken"))
    try await withScheduler(engine, configuration(batch: 2)) { scheduler in
      let failing = try await scheduler.submit(order(3))
      do {
        _ = try await pictures(failing)
        Issue.record("no failure came through")
      } catch OrderFailure.engine(let outOfMemory, _) {
        #expect(!outOfMemory)
      }
      #expect(try await pictures(of: order(2), scheduler).count == 2)
      // The rest of the order that failed is not drawn.
      #expect(engine.batches.map(\.count) == [2, 2])
    }
  }

  // MARK: Beginning and end

  @Test func nothingIsTakenBeforeTheModelIsReady() async throws {
    let engine = FakeEngine(open: false)
    let scheduler = PictureScheduler(
      engine: engine, configuration: .init(batch: 4, warmUp: [1, 4], warmUpRuns: 2),
      logger: quietLogger)
    await #expect(throws: OrderFailure.starting) { try await scheduler.submit(order()) }
    let run = Task { try await scheduler.run() }
    try await eventually("warming up begins") { engine.batches.count == 1 }
    #expect(await !scheduler.isReady)
    await engine.gate.open()
    await scheduler.waitUntilReady()
    #expect(await scheduler.isReady)
    #expect(engine.batches.map(\.count) == [1, 1, 4, 4])
    run.cancel()
    _ = await run.result
  }

  @Test func warmingUpEndsWhereMemoryRunsOut() async throws {
    let engine = FakeEngine()
    engine.fail(with: out)
    let warmed = SchedulerConfiguration(batch: 8, warmUp: [2, 4, 8], warmUpRuns: 3)
    try await withScheduler(engine, warmed) { scheduler in
      await scheduler.waitUntilReady()
      #expect(engine.batches.map(\.count) == [2])
      let drawn = try await pictures(of: order(2), scheduler)
      #expect(drawn.count == 2)
      #expect(engine.batches.map(\.count) == [2, 1, 1])
    }
  }

  @Test(.timeLimit(.minutes(1))) func aModelThatCannotDrawEndsTheServer() async throws {
    let broken = TorchError(kind: .operation, operation: "test", message: "broken")
    let engine = FakeEngine()
    engine.fail(with: broken, broken)
    let warmed = SchedulerConfiguration(batch: 1, warmUp: [1])
    let scheduler = PictureScheduler(engine: engine, configuration: warmed, logger: quietLogger)
    let waiting = Task { await scheduler.waitUntilReady() }
    await #expect(throws: TorchError.self) { try await scheduler.run() }
    await waiting.value
    await #expect(throws: OrderFailure.shuttingDown) { try await scheduler.submit(order()) }

    var configuration = ServerConfiguration()
    configuration.port = 0
    let server = try PictureServer(
      engine: engine, scheduler: warmed, configuration: configuration, logger: quietLogger)
    await #expect(throws: TorchError.self) { try await server.run() }
  }

  @Test(.timeLimit(.minutes(1))) func waitingForTheModelCanBeGivenUp() async {
    let scheduler = PictureScheduler(
      engine: FakeEngine(), configuration: configuration(), logger: quietLogger)
    let waiting = Task { await scheduler.waitUntilReady() }
    try? await Task.sleep(for: .milliseconds(20))
    waiting.cancel()
    await waiting.value
    #expect(await !scheduler.isReady)
  }

  @Test func stoppingFinishesWhatHasBegunAndGivesBackTheRest() async throws {
    let engine = FakeEngine(open: false)
    let scheduler = PictureScheduler(
      engine: engine, configuration: configuration(batch: 2), logger: quietLogger)
    let run = Task { try await scheduler.run() }
    await scheduler.waitUntilReady()
    // Begun, though one of its pictures still waits.
    let begun = try await scheduler.submit(order(3))
    try await eventually("a batch begins") { engine.batches.count == 1 }
    let waiting = try await scheduler.submit(order(1, from: "b"))
    await scheduler.stop()
    await #expect(throws: OrderFailure.shuttingDown) { try await pictures(waiting) }
    await #expect(throws: OrderFailure.shuttingDown) { try await scheduler.submit(order()) }
    await engine.gate.open()
    #expect(try await pictures(begun).count == 3)
    run.cancel()
    _ = await run.result
  }

  @Test func cancellingStopsAtOnce() async throws {
    let engine = FakeEngine(open: false)
    let scheduler = PictureScheduler(
      engine: engine, configuration: configuration(), logger: quietLogger)
    let run = Task { try await scheduler.run() }
    await scheduler.waitUntilReady()
    let placed = try await scheduler.submit(order(1))
    try await eventually("a batch begins") { engine.batches.count == 1 }
    run.cancel()
    await #expect(throws: (any Error).self) { try await pictures(placed) }
    _ = await run.result
    #expect(engine.drawnScales == 0)
  }
}
