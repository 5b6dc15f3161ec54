import Foundation
import Pictures
import Testing
import TorchTestSupport

@testable import MVARTraining

/// Batches: their order, their independence of workers and interruptions, and bad files.
@Suite struct PictureBatchesTests {
  private func settings(_ batch: Int, workers: Int = 2, seed: UInt64 = 5) -> PictureBatches.Settings
  {
    var recipe = PictureRecipe(side: 8)
    recipe.hue = 20
    recipe.rotation = 5
    var settings = PictureBatches.Settings(recipe: recipe, batch: batch, seed: seed)
    settings.workers = workers
    return settings
  }

  private func run(_ data: PictureDataSet, _ settings: PictureBatches.Settings, count: Int = 8)
    throws
    -> [PictureBatch]
  {
    let batches = try PictureBatches(data, settings)
    return try (0..<count).map { _ in try batches.next() }
  }

  @Test func anEpochHasEveryPictureOnce() throws {
    let folder = try PictureFolder.classes(["a", "b"], count: 6)
    let data = try PictureDataSet(folder.path)
    let batches = try run(data, settings(4), count: 9)
    for epoch in 0..<3 {
      let part = batches[3 * epoch..<3 * epoch + 3]
      #expect(part.map(\.position) == (0..<3).map { DataPosition(epoch: epoch, step: $0) })
      #expect(part.flatMap(\.indices).sorted() == Array(0..<12))
      #expect(part.allSatisfy { $0.labels == $0.indices.map { $0 / 6 } })
    }
    #expect(batches[0..<3].flatMap(\.indices) != batches[3..<6].flatMap(\.indices))
    // The same picture in another epoch is another square.
    #expect(Set(batches.map(\.pixels)).count == 9)
  }

  @Test func theNumberOfWorkersChangesNothing() throws {
    let folder = try PictureFolder.classes(["a", "b"], count: 5)
    let data = try PictureDataSet(folder.path)
    let one = try run(data, settings(3, workers: 1))
    let many = try run(data, settings(3, workers: 5))
    for (a, b) in zip(one, many) {
      #expect(a.pixels == b.pixels && a.indices == b.indices && a.labels == b.labels)
    }
    let other = try run(data, settings(3, seed: 6))
    #expect(other[0].pixels != one[0].pixels)
  }

  @Test func aRunGoesOnWhereItStopped() throws {
    let folder = try PictureFolder.classes(["a"], count: 7)
    let data = try PictureDataSet(folder.path)
    let whole = try run(data, settings(2))
    for stop in 0..<8 {
      let first = try PictureBatches(data, settings(2))
      for _ in 0..<stop { _ = try first.next() }
      let position = try JSONDecoder().decode(
        DataPosition.self, from: JSONEncoder().encode(first.position))
      let second = try PictureBatches(data, settings(2), from: position)
      for batch in whole[stop...] {
        let next = try second.next()
        #expect(next.pixels == batch.pixels && next.position == batch.position)
      }
    }
  }

  @Test func ranksShareTheBatchOfOneProcess() throws {
    let folder = try PictureFolder.classes(["a"], count: 12)
    let data = try PictureDataSet(folder.path)
    let whole = try run(data, settings(4), count: 5)
    let halves = try (0..<2).map { rank in
      var settings = settings(2)
      (settings.rank, settings.ranks) = (rank, 2)
      return try run(data, settings, count: 5)
    }
    for step in 0..<5 {
      #expect(halves[0][step].pixels + halves[1][step].pixels == whole[step].pixels)
    }
  }

  @Test(arguments: [0.0, 0.5, 1.0]) func balanceEvensOutTheClasses(_ balance: Double) {
    let labels = (0..<1000).map { $0 < 900 ? 0 : 2 }
    let order = SampleOrder(seed: 1, labels: labels, balance: balance)
    let drawn = (0..<10).flatMap { order.samples(epoch: $0) }
    let share = Double(drawn.count { labels[$0] == 2 }) / 10_000
    // √100 / (√100 + √900) = 1/4
    let expected = [0.0: 0.1, 0.5: 0.25, 1.0: 0.5][balance]!
    // Five standard deviations of 10,000 draws.
    #expect(abs(share - expected) < 0.025)
  }

  @Test func unreadableFilesAreCountedNamedAndReplaced() throws {
    let folder = try PictureFolder.classes(["a"], count: 10)
    try folder.write("no picture", to: "a/3.png")
    let whole = try [UInt8](Data(contentsOf: URL(filePath: folder.file("a/4.png"))))
    try folder.write(Array(whole.prefix(whole.count / 2)), to: "a/4.png")
    let data = try PictureDataSet(folder.path)
    var settings = settings(5)
    settings.toleratedShare = 0.2
    let batches = try PictureBatches(data, settings)
    let seen = try (0..<6).map { _ in try batches.next() }
    #expect(seen.allSatisfy { !$0.indices.contains(3) && !$0.indices.contains(4) })
    let report = batches.report
    #expect(
      Set(report.unreadable.map(\.name)) == [folder.file("a/3.png"), folder.file("a/4.png")])
    #expect(report.unreadable.contains { $0.reason.contains("is not a PNG, JPEG or WebP") })
    // What stands in is drawn by rule too.
    settings.workers = 7
    let again = try run(data, settings, count: 6)
    #expect(again.map(\.pixels) == seen.map(\.pixels))
    settings.toleratedShare = 0.1
    let strict = try PictureBatches(data, settings)
    expectTrainingError(.data, "2 of 10 pictures", "0.1", "a/") {
      for _ in 0..<6 { _ = try strict.next() }
    }
    // Once failed, it stays so.
    expectTrainingError(.data, "2 of 10 pictures") { _ = try strict.next() }
    // The share is of all pictures that there were before some were set apart.
    settings.apart = 9
    let part = try PictureBatches(data, settings)
    expectTrainingError(.data, "2 of 10 pictures", "0.1 of all 19") {
      for _ in 0..<6 { _ = try part.next() }
    }
    settings.apart = 10
    #expect(try run(data, settings, count: 6).map(\.pixels) == seen.map(\.pixels))
  }

  @Test func aDataSetOfUnreadablePicturesAloneEndsTheRun() throws {
    let folder = try PictureFolder()
    for number in 0..<4 { try folder.write("no picture", to: "a/\(number).png") }
    var settings = settings(2)
    settings.toleratedShare = 1
    let batches = try PictureBatches(PictureDataSet(folder.path), settings)
    expectTrainingError(.data, folder.path, "none of its 4 pictures can be read", "a/") {
      _ = try batches.next()
    }
  }

  /// Nothing is wrong with the pictures then.
  @Test func tooManyOpenFilesEndTheRun() async {
    await #expect(processExitsWith: .success) {
      let data = try PictureDataSet(Golden.folder + "/../pictures", labels: .ignored)
      var settings = PictureBatches.Settings(recipe: PictureRecipe(side: 8), batch: 2, seed: 1)
      settings.toleratedShare = 1
      allowNoMoreOpenFiles()
      let batches = try PictureBatches(data, settings)
      expectTrainingError(.file, "/pictures/", "(Too many open files)", "ulimit -n") {
        _ = try batches.next()
      }
      #expect(batches.report.unreadable.isEmpty)
    }
  }

  @Test(.timeLimit(.minutes(1))) func cancellationEndsTheWaitForAPicture() async throws {
    let folder = try PictureFolder()
    try folder.write("", to: "a/0.png")
    // A pipe that nobody writes into is a disk that does not answer.
    let pipe = folder.file("a/1.png")
    try #require(mkfifo(pipe, 0o600) == 0)
    defer {
      let writer = open(pipe, O_WRONLY | O_NONBLOCK)
      if writer >= 0 { close(writer) }
    }
    var settings = settings(1, workers: 1)
    settings.toleratedShare = 1
    let data = try PictureDataSet(folder.path).filtered { $0.location == .file(pipe) }
    let waiting = Task { [settings] in _ = try PictureBatches(data, settings).next() }
    try await Task.sleep(for: .milliseconds(50))
    waiting.cancel()
    await #expect(throws: CancellationError.self) { try await waiting.value }
  }

  @Test func fewerPicturesThanABatch() throws {
    let folder = try PictureFolder.classes(["a"], count: 3)
    let data = try PictureDataSet(folder.path)
    expectTrainingError(.data, folder.path, "3 pictures do not fill a batch of 4") {
      _ = try PictureBatches(data, settings(4))
    }
    #expect(try run(data, settings(3), count: 2).count == 2)
    expectTrainingError(.setting, "0 workers") {
      _ = try PictureBatches(data, settings(2, workers: 0))
    }
  }

  @Test func picturesSmallerThanTheResolutionAreEnlargedAndCounted() throws {
    let folder = try PictureFolder()
    try folder.add("a/small.png", number: 1, width: 3, height: 5)
    try folder.add("a/large.png", number: 2, width: 30, height: 8)
    let data = try PictureDataSet(folder.path)
    let batches = try PictureBatches(data, settings(2, workers: 1))
    let batch = try batches.next()
    #expect(batch.pixels.count == 2 * 8 * 8 * 3)
    #expect(batches.report.enlarged > 0 && batches.report.enlarged < batches.report.made)
  }

  @Test func waitingIsMeasured() throws {
    let folder = try PictureFolder.classes(["a"], count: 4)
    let data = try PictureDataSet(folder.path)
    let batches = try PictureBatches(data, settings(2))
    for _ in 0..<4 { _ = try batches.next() }
    let report = batches.report
    #expect(report.waited >= 0 && report.elapsed > 0 && (0...1).contains(report.waitingShare))
  }
}
