import Logging
import MVAR
import ServiceLifecycle
import Torch

/// Draws the orders of many clients with one model, in batches that they share.
///
/// An order waits in a bounded queue. Whenever the model is free, the next batch is filled from the
/// queue, one picture from each client in turn. Pictures of different clients, classes, seeds and
/// settings share a batch; none depends on its neighbours. A batch in which nobody is interested any
/// more stops between two scales.
///
/// It is a service: ``run()`` draws until a graceful shutdown, after which orders that have begun are
/// finished and no others are taken.
public actor PictureScheduler: Service {
  public nonisolated let engine: any PictureEngine
  public nonisolated let configuration: SchedulerConfiguration
  private let metrics: ServerMetrics
  private let logger: Logger

  private var phase = Phase.starting
  private var orders: [OrderID: OpenOrder] = [:]
  private var lastID: OrderID = 0
  private var queue = FairQueue<Place>()
  private var running: [Place] = []
  private var work: Task<Void, any Error>?
  private var times = BatchTimes()
  private var batchLimit: BatchLimit
  private var idle: CheckedContinuation<Void, Never>?
  private var awaitingReadiness: [Int: CheckedContinuation<Void, Never>] = [:]
  private var lastAwaiting = 0

  public enum Phase: Sendable { case starting, ready, stopping }

  typealias OrderID = UInt64

  /// An order that was taken.
  public struct PlacedOrder: Sendable {
    let id: OrderID
    public let events: OrderEvents
  }

  /// One picture of an order.
  private struct Place {
    let order: OrderID
    let index: Int
    let task: PictureTask
  }

  private struct OpenOrder {
    let order: Order
    let events: OrderEvents
    /// Pictures of others that come first, at most.
    var ahead: Int
    let accepted = ContinuousClock.now
    var unfinished: Int
    var hasStarted = false
    var timer: Task<Void, Never>?
  }

  public init(
    engine: any PictureEngine, configuration: SchedulerConfiguration,
    metrics: ServerMetrics = .init(), logger: Logger
  ) {
    self.engine = engine
    self.configuration = configuration
    self.metrics = metrics
    self.logger = logger
    batchLimit = BatchLimit(configured: configuration.batch)
  }

  /// Whether orders are taken.
  public var isReady: Bool { phase == .ready }

  /// Pictures that wait and pictures that are being drawn.
  public var load: (queued: Int, running: Int) { (queue.count, running.count) }
}

// MARK: Orders

extension PictureScheduler {
  /// Takes an order. Whoever loses interest in it withdraws it.
  ///
  /// Its events end after the last picture, or throw an ``OrderFailure``.
  ///
  /// - Throws: ``OrderFailure`` if the order is not taken, `MVARError` if a task makes no sense.
  public func submit(_ order: Order) throws -> PlacedOrder {
    precondition(!order.tasks.isEmpty, "an order is for one picture or more")
    for task in order.tasks { try engine.validate(task) }
    do { try admit(order) } catch {
      metrics.orderEnded(.refused)
      throw error
    }
    lastID += 1
    let id = lastID
    let events = OrderEvents()
    let own = order.timeout.flatMap { $0 < configuration.timeout ? $0 : nil }
    let limit = own ?? configuration.timeout
    let timer = Task { [weak self] in
      guard (try? await Task.sleep(for: limit)) != nil else { return }
      await self?.expire(id, after: limit, isOwn: own != nil)
    }
    let ahead = queue.count + running.count
    events.add(.queued(ahead: ahead, estimate: estimate(ahead + order.tasks.count)))
    orders[id] = OpenOrder(
      order: order, events: events, ahead: ahead, unfinished: order.tasks.count, timer: timer)
    // Somebody who gives no name takes turns as this one request.
    let requester = order.client.requester.map { "name \($0)" } ?? "order \(id)"
    for (index, task) in order.tasks.enumerated() {
      queue.add(
        Place(order: id, index: index, task: task), address: order.client.address,
        requester: requester)
    }
    showLoad()
    wake()
    return PlacedOrder(id: id, events: events)
  }

  private func admit(_ order: Order) throws(OrderFailure) {
    switch phase {
    case .starting: throw .starting
    case .stopping: throw .shuttingDown
    case .ready: break
    }
    let count = order.tasks.count
    guard count <= configuration.queuePerAddress else {
      throw .orderTooLarge(count: count, limit: configuration.queuePerAddress)
    }
    let excess = queue.count + count - configuration.queue
    guard excess <= 0 else {
      throw .queueFull(
        waiting: queue.count, limit: configuration.queue, retryAfter: retryAfter(excess))
    }
    let own = queue.count(of: order.client.address)
    guard own + count <= configuration.queuePerAddress else {
      let excess = own + count - configuration.queuePerAddress
      throw .clientQueueFull(
        waiting: own, limit: configuration.queuePerAddress, retryAfter: retryAfter(excess))
    }
    if let wait = estimate(queue.count + running.count + count),
      queue.count > 0, wait > configuration.timeout
    {
      throw .queueFull(
        waiting: queue.count, limit: configuration.queue,
        retryAfter: max(wait - configuration.timeout, .seconds(1)))
    }
  }

  private func estimate(_ pictures: Int) -> Duration? {
    times.estimate(pictures: pictures, limit: batchLimit.current).map { .seconds($0) }
  }

  /// How long until so many pictures have left the queue: the batch that runs, and then theirs.
  private func retryAfter(_ pictures: Int) -> Duration {
    max(estimate(pictures + running.count) ?? .seconds(5), .seconds(1))
  }

  /// Gives up what is left of an order.
  public func withdraw(_ placed: PlacedOrder) {
    guard let open = close(placed.id, .cancelled) else { return }
    open.events.finish(throwing: CancellationError())
    forget(placed.id)
  }

  private func expire(_ id: OrderID, after limit: Duration, isOwn: Bool) {
    guard let open = close(id, .timedOut) else { return }
    let failure =
      isOwn
      ? OrderFailure.ownTimePassed(limit) : .timedOut(after: limit, retryAfter: retryAfter(0))
    open.events.finish(throwing: failure)
    forget(id)
  }

  private func close(_ id: OrderID, _ end: ServerMetrics.OrderEnd) -> OpenOrder? {
    guard let open = orders.removeValue(forKey: id) else { return nil }
    open.timer?.cancel()
    metrics.orderEnded(end)
    return open
  }

  /// Takes a closed order's pictures out of the queue, and stops a batch that nobody waits for.
  private func forget(_ id: OrderID) {
    queue.removeAll { $0.order == id }
    showLoad()
    if !running.isEmpty, running.allSatisfy({ orders[$0.order] == nil }) { work?.cancel() }
  }
}

// MARK: Batches

extension PictureScheduler {
  /// Draws until a graceful shutdown has begun and all that had begun before is finished.
  ///
  /// - Throws: What the engine throws if it cannot draw at all.
  public func run() async throws {
    showLoad()
    try await withTaskCancellationOrGracefulShutdownHandler {
      do { try await warmUp() } catch {
        refuseAll()
        throw error
      }
      if phase == .starting { phase = .ready }
      becameReady()
      await drawOrders()
      refuseAll()
      // A service that ends before it is its turn would end the others at once.
      try? await gracefulShutdown()
    } onCancelOrGracefulShutdown: {
      Task { await self.stop() }
    }
  }

  private func drawOrders() async {
    while !Task.isCancelled {
      if queue.count > 0 {
        await gather()
        await drawBatch()
      } else if phase == .stopping {
        break
      } else {
        await nextOrder()
      }
    }
  }

  /// Takes no more orders, and gives back those that have not begun.
  public func stop() {
    guard phase != .stopping else { return }
    phase = .stopping
    let waiting = orders.filter { !$0.value.hasStarted }.keys
    logger.info(
      "stopping",
      metadata: [
        "running_orders": .stringConvertible(orders.count - waiting.count),
        "refused_orders": .stringConvertible(waiting.count),
      ])
    for id in waiting { fail(id, with: .shuttingDown, .refused) }
    becameReady()
    wake()
  }

  /// What a GPU prepares for each size of batch, it prepares now; and the first estimate is measured.
  private func warmUp() async throws {
    for size in configuration.warmUp {
      let count = min(size, configuration.batch)
      // Where memory ran out, larger batches need no trial.
      guard phase == .starting, !Task.isCancelled, count <= batchLimit.current else { break }
      let tasks = (0..<count).map { index in
        PictureTask.draw(ImageRequest(label: 0, seed: UInt64(index)))
      }
      do {
        var seconds = 0.0
        for _ in 0..<configuration.warmUpRuns where phase == .starting && !Task.isCancelled {
          let start = ContinuousClock.now
          try await engine.draw(tasks, previews: false) { _ in }
          seconds = start.duration(to: .now).inSeconds
        }
        times.add(size: tasks.count, seconds: seconds)
      } catch let error as TorchError where error.kind == .outOfMemory && tasks.count > 1 {
        batchLimit.lower(after: tasks.count)
        logger.warning(
          "memory ran out while warming up",
          metadata: [
            "batch": .stringConvertible(tasks.count),
            "batch_limit": .stringConvertible(batchLimit.current),
          ])
      } catch is CancellationError {
        return
      }
    }
    showLoad()
  }

  /// Returns once orders are taken, or will never be.
  ///
  /// Returns at once where the task is cancelled.
  public func waitUntilReady() async {
    lastAwaiting += 1
    let id = lastAwaiting
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        if phase != .starting || Task.isCancelled {
          continuation.resume()
        } else {
          awaitingReadiness[id] = continuation
        }
      }
    } onCancel: {
      Task { await self.waitsNoLonger(id) }
    }
  }

  private func waitsNoLonger(_ id: Int) {
    awaitingReadiness.removeValue(forKey: id)?.resume()
  }

  private func becameReady() {
    for waiting in awaitingReadiness.values { waiting.resume() }
    awaitingReadiness = [:]
  }

  private func nextOrder() async {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        if queue.count > 0 || phase == .stopping || Task.isCancelled {
          continuation.resume()
        } else {
          idle = continuation
        }
      }
    } onCancel: {
      Task { await self.wake() }
    }
  }

  private func wake() {
    idle?.resume()
    idle = nil
  }

  /// Waits a little for others to fill the batch.
  private func gather() async {
    guard queue.count < batchLimit.current, phase == .ready,
      let seconds = times.estimate(size: queue.count)
    else { return }
    let wait = min(seconds * configuration.gathering, SchedulerConfiguration.longestGathering)
    if wait > 0 { try? await Task.sleep(for: .seconds(wait)) }
  }

  private func drawBatch() async {
    let places = queue.take(batchLimit.current)
    guard !places.isEmpty else { return }
    running = places
    begin(places)
    showLoad()
    let previews = places.contains { orders[$0.order]?.order.previews == true }
    let start = ContinuousClock.now
    let work = Task { [engine] in
      try await engine.draw(places.map(\.task), previews: previews) { await self.deliver($0) }
    }
    self.work = work
    let result = await withTaskCancellationHandler {
      await work.result
    } onCancel: {
      work.cancel()
    }
    self.work = nil
    running = []
    ended(places, result, seconds: start.duration(to: .now).inSeconds, timed: !previews)
    tellWaiting()
    showLoad()
  }

  /// Tells those who watch how far the queue has moved.
  private func tellWaiting() {
    for (id, open) in orders where open.order.previews && !open.hasStarted {
      let ahead = min(open.ahead, queue.count - open.order.tasks.count)
      guard ahead < open.ahead else { continue }
      orders[id]!.ahead = ahead
      open.events.add(
        .queued(ahead: ahead, estimate: estimate(ahead + open.order.tasks.count)))
    }
  }

  private func begin(_ places: [Place]) {
    for id in Set(places.map(\.order)) {
      guard let open = orders[id], !open.hasStarted else { continue }
      orders[id]!.hasStarted = true
      metrics.waited(open.accepted.duration(to: .now).inSeconds)
    }
  }

  private func deliver(_ scale: DrawnScale) {
    for (index, picture) in scale.pictures.sorted(by: { $0.key < $1.key }) {
      let place = running[index]
      guard let open = orders[place.order] else { continue }
      if scale.isLast {
        open.events.add(.finished(index: place.index, picture: picture))
        orders[place.order]!.unfinished -= 1
        if open.unfinished == 1 { close(place.order, .finished)?.events.finish() }
      } else if open.order.previews {
        open.events.add(
          .preview(
            index: place.index, scale: scale.index, scales: scale.count, picture: picture))
      }
    }
  }

  private func ended(
    _ places: [Place], _ result: Result<Void, any Error>, seconds: Double, timed: Bool
  ) {
    switch result {
    case .success:
      if timed || times.estimate(size: places.count) == nil {
        times.add(size: places.count, seconds: seconds)
      }
      batchLimit.succeeded()
      metrics.batchEnded(.finished, size: places.count, seconds: seconds)
      logger.debug(
        "batch finished",
        metadata: [
          "pictures": .stringConvertible(places.count), "seconds": .stringConvertible(seconds),
        ])
    case .failure(is CancellationError):
      metrics.batchEnded(.cancelled, size: places.count, seconds: seconds)
      // Somebody still waits only if the whole server was told to stop at once.
      for id in Set(places.map(\.order)) { fail(id, with: .shuttingDown, .refused) }
    case .failure(let error):
      failed(places, error, seconds)
    }
  }

  private func failed(_ places: [Place], _ error: any Error, _ seconds: Double) {
    let isMemory = (error as? TorchError)?.kind == .outOfMemory
    if isMemory { batchLimit.lower(after: places.count) }
    metrics.batchEnded(isMemory ? .outOfMemory : .failed, size: places.count, seconds: seconds)
    logger.error(
      "batch failed",
      metadata: [
        "pictures": .stringConvertible(places.count), "error": "\(error)",
        "batch_limit": .stringConvertible(batchLimit.current),
      ])
    let failure = OrderFailure.engine(outOfMemory: isMemory, retryAfter: retryAfter(0))
    for id in Set(places.map(\.order)) { fail(id, with: failure, .failed) }
  }

  private func fail(_ id: OrderID, with failure: OrderFailure, _ end: ServerMetrics.OrderEnd) {
    guard let open = close(id, end) else { return }
    open.events.finish(throwing: failure)
    queue.removeAll { $0.order == id }
  }

  /// Nothing is drawn any more, whatever the reason; nobody is to wait for it.
  private func refuseAll() {
    phase = .stopping
    for id in orders.keys { fail(id, with: .shuttingDown, .refused) }
    becameReady()
    showLoad()
  }

  private func showLoad() {
    metrics.show(queued: queue.count, running: running.count, limit: batchLimit.current)
  }
}
