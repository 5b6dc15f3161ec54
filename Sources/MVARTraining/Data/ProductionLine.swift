import Foundation
import Pictures

/// The workers behind ``PictureBatches`` and the batches that they are filling.
///
/// Every picture of the run has a ticket, counted from the first batch; a worker takes the next one,
/// makes the picture without holding the lock, and writes it where it belongs.
final class ProductionLine: @unchecked Sendable {
  private let dataSet: PictureDataSet
  private let settings: PictureBatches.Settings
  private let first: DataPosition
  private let steps: Int
  private let order: SampleOrder
  private let maker: PictureMaker

  /// Guards everything below.
  private let condition = NSCondition()
  private var nextTicket = 0
  private var taken = 0
  private var isClosed = false
  private var failure: TrainingError?
  private var batches: [Int: UnfinishedBatch] = [:]
  private var epochs: [Int: [Int]] = [:]
  private var notes = ReadingReport()
  private var unreadable: Set<Int> = []
  private var start: ContinuousClock.Instant?

  init(
    _ dataSet: PictureDataSet, _ settings: PictureBatches.Settings, from first: DataPosition,
    steps: Int
  ) throws(TrainingError) {
    self.dataSet = dataSet
    self.settings = settings
    self.first = first
    self.steps = steps
    order = SampleOrder(
      seed: settings.seed, labels: dataSet.entries.map(\.label), balance: settings.balance)
    maker = try PictureMaker(dataSet, settings.recipe)
    for number in 0..<settings.workers {
      let thread = Thread { [self] in work() }
      thread.name = "pictures \(number)"
      thread.start()
    }
  }

  func close() {
    condition.withLock {
      isClosed = true
      condition.broadcast()
    }
  }

  var report: ReadingReport {
    condition.withLock {
      var report = notes
      if let start { report.elapsed = start.duration(to: .now).seconds }
      return report
    }
  }

  /// Waits for a batch, counted from the first.
  ///
  /// - Throws: ``TrainingError``, or `CancellationError` where the task is cancelled while it waits.
  func take(_ number: Int) throws -> PictureBatch {
    condition.lock()
    defer { condition.unlock() }
    let asked = ContinuousClock.now
    while failure == nil, batches[number]?.isFinished != true {
      try Task.checkCancellation()
      // Nobody wakes this thread when its task is cancelled, so that it looks by itself.
      _ = condition.wait(until: Date(timeIntervalSinceNow: 0.1))
    }
    if let failure { throw failure }
    // Nobody can have made the first batch ahead of the first call.
    if start == nil { start = .now } else { notes.waited += asked.duration(to: .now).seconds }
    let batch = batches.removeValue(forKey: number)!
    taken = number + 1
    condition.broadcast()
    return batch.batch(first.advanced(by: number, steps: steps), side: settings.recipe.side)
  }

  private func work() {
    while let (ticket, batch) = nextTask() {
      let position = first.advanced(by: ticket / settings.batch, steps: steps)
      let row = ticket % settings.batch
      let place =
        (position.step * settings.ranks + settings.rank) * settings.batch + row
      do {
        guard let made = try picture(epoch: position.epoch, place: place) else { return }
        batch.put(made.square, row: row)
        condition.withLock {
          batch.finish(row, index: made.index, label: dataSet.entries[made.index].label)
          notes.made += 1
          if made.isEnlarged { notes.enlarged += 1 }
          if batch.isFinished { condition.broadcast() }
        }
      } catch {
        condition.withLock {
          failure = failure ?? error
          isClosed = true
          condition.broadcast()
        }
      }
    }
  }

  private func nextTask() -> (ticket: Int, batch: UnfinishedBatch)? {
    condition.withLock {
      while !isClosed, nextTicket / settings.batch >= taken + settings.ahead { condition.wait() }
      if isClosed { return nil }
      let ticket = nextTicket
      nextTicket += 1
      let number = ticket / settings.batch
      let batch =
        batches[number] ?? UnfinishedBatch(count: settings.batch, side: settings.recipe.side)
      batches[number] = batch
      return (ticket, batch)
    }
  }

  /// The samples of an epoch; the first worker to need them makes them.
  private func samples(epoch: Int) -> [Int] {
    condition.withLock {
      if let samples = epochs[epoch] { return samples }
      epochs = epochs.filter { $0.key >= epoch - 1 }
      let samples = order.samples(epoch: epoch)
      epochs[epoch] = samples
      return samples
    }
  }

  /// The picture at a place of an epoch, or the first readable one of those that stand in for it; nil
  /// once nobody wants it any more.
  private func picture(epoch: Int, place: Int) throws(TrainingError) -> (
    square: Picture, isEnlarged: Bool, index: Int
  )? {
    var draws = Draws(seed: settings.seed, .augmentation, epoch: epoch, place: place)
    var substitutes = Draws(seed: settings.seed, .substitute, epoch: epoch, place: place)
    var index = samples(epoch: epoch)[place]
    while condition.withLock({ !isClosed }) {
      do {
        let made = try maker.square(index, &draws)
        return (made.square, made.isEnlarged, index)
      } catch {
        try note(index, PictureMaker.fault(error))
      }
      index = substitutes.below(dataSet.count)
    }
    return nil
  }

  /// Notes a picture that cannot be read, and ends the run where they are too many, or all: then none
  /// could ever stand in.
  private func note(_ index: Int, _ reason: String) throws(TrainingError) {
    let report: ReadingReport? = condition.withLock {
      guard unreadable.insert(index).inserted else { return nil }
      notes.unreadable.append(.init(name: dataSet.entries[index].location.name, reason: reason))
      return notes
    }
    guard let report else { return }
    let (count, reason) = (report.unreadable.count, report.unreadable.last!.reason)
    if count == dataSet.count { throw .allUnreadable(dataSet, such: reason) }
    try dataSet.tolerate(
      count, share: settings.toleratedShare, apart: settings.apart, such: reason)
  }
}

/// A batch that several workers write into, each its own rows.
private final class UnfinishedBatch: @unchecked Sendable {
  private let pixels: UnsafeMutableBufferPointer<UInt8>
  private let rowBytes: Int
  private var labels: [Int]
  private var indices: [Int]
  private var remaining: Int

  init(count: Int, side: Int) {
    rowBytes = side * side * 3
    pixels = .allocate(capacity: count * rowBytes)
    labels = [Int](repeating: 0, count: count)
    indices = labels
    remaining = count
  }

  deinit { pixels.deallocate() }

  /// Without the lock: no two workers have the same row.
  func put(_ square: Picture, row: Int) {
    _ = UnsafeMutableBufferPointer(rebasing: pixels[row * rowBytes..<(row + 1) * rowBytes])
      .initialize(from: square.pixels)
  }

  /// With the lock.
  func finish(_ row: Int, index: Int, label: Int) {
    labels[row] = label
    indices[row] = index
    remaining -= 1
  }

  var isFinished: Bool { remaining == 0 }

  func batch(_ position: DataPosition, side: Int) -> PictureBatch {
    PictureBatch(
      position: position, side: side, pixels: Array(pixels), labels: labels, indices: indices)
  }
}

extension Duration {
  var seconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
