import MVAR
import MVARTraining
import Testing

@Suite struct TokensInMemoryTests {
  private func batches(_ pictures: Int, batch: Int, versions: Int = 1) throws -> TokensInMemory {
    let schedule = try ScaleSchedule(squares: [1])
    let tokens = PictureTokens(
      schedule: schedule, count: pictures * versions,
      scales: [(0..<Int64(pictures * versions)).map { $0 }])
    return try TokensInMemory(
      tokens, labels: Array(0..<pictures), versions: versions, batch: batch, seed: 5)
  }

  @Test func anEpochHasEveryPictureOnce() throws {
    let batches = try batches(12, batch: 4)
    #expect(batches.batchesPerEpoch == 3)
    var epochs: [[Int]] = []
    for _ in 0..<2 { epochs.append((0..<3).flatMap { _ in batches.next().labels }) }
    for epoch in epochs { #expect(epoch.sorted() == Array(0..<12)) }
    #expect(epochs[0] != epochs[1])
    #expect(batches.position == DataPosition(epoch: 2, step: 0))
  }

  @Test func fewerPicturesThanABatchFillIt() throws {
    let batches = try batches(3, batch: 8)
    #expect(batches.batchesPerEpoch == 1)
    let labels = batches.next().labels
    #expect(labels.count == 8 && Set(labels) == [0, 1, 2])
  }

  @Test func aPositionGivesTheSameBatch() throws {
    let batches = try batches(10, batch: 4, versions: 3)
    for _ in 0..<5 { _ = batches.next() }
    let position = batches.position
    let expected = batches.next()
    let other = try self.batches(10, batch: 4, versions: 3)
    other.seek(to: position)
    #expect(other.next() == expected)
  }

  @Test func everyVersionOfAPictureComes() throws {
    let batches = try batches(2, batch: 2, versions: 3)
    var seen: Set<Int64> = []
    for _ in 0..<40 {
      let batch = batches.next()
      for (label, token) in zip(batch.labels, batch.tokens.scales[0]) {
        #expect(Int(token) / 3 == label)
        seen.insert(token)
      }
    }
    #expect(seen.count == 6)
  }

  @Test func refusesWhatDoesNotFit() throws {
    let tokens = PictureTokens(
      schedule: try ScaleSchedule(squares: [1]), count: 2, scales: [[0, 1]])
    #expect(throws: TrainingError.self) {
      try TokensInMemory(tokens, labels: [], batch: 1, seed: 0)
    }
    #expect(throws: TrainingError.self) {
      try TokensInMemory(tokens, labels: [0], batch: 1, seed: 0)
    }
    let error = #expect(throws: TrainingError.self) {
      try TokensInMemory(tokens, labels: [0, 7], classes: 5, batch: 1, seed: 0)
    }
    #expect(error?.description == "label 7 is not one of 0...4")
  }
}
