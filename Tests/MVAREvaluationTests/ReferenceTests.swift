import Foundation
@testable import MVAREvaluation
import Testing
import Torch
import TorchTestSupport

@Suite struct ReferenceTests {
  let folder: TemporaryFolder

  init() throws {
    folder = try TemporaryFolder()
    try LibTorch.load()
  }

  private func options(cache: Bool = false, features: Bool = true) -> Evaluator.ReferenceOptions {
    var options = Evaluator.ReferenceOptions()
    options.cache = cache ? ReferenceCache(folder: folder.file("cache")) : nil
    options.needsFeatures = features
    return options
  }

  private func pictures(_ indices: Range<Int>) -> NumPyWriter.Item {
    let all = Expected.pictures(indices)
    var next = 0
    return .init("arr_0", NumPyHeader(.uint8, shape: [all.count, 64, 64, 3])) { _ in
      guard next < all.count else { return [] }
      next += 1
      return all[next - 1].pixels
    }
  }

  @Test func folderAndArchiveAgree() async throws {
    let evaluator = try await MeansNetwork.evaluator()
    let path = folder.file("real.npz")
    try NumPyWriter.write([pictures(0..<17)], to: path)
    let fromArchive = try await evaluator.reference(path, options())
    let fromFolder = try await evaluator.reference(folder.pictures("real", 0..<17), options())
    #expect(fromArchive == fromFolder)
    #expect(fromArchive.features?.count == 17 * 48)
  }

  /// As OpenAI's evaluator: mu and sigma go before the pictures, which give the features.
  @Test func statisticsBeforePictures() async throws {
    let evaluator = try await MeansNetwork.evaluator()
    let made = try await evaluator.measure(PictureFolder(folder.pictures("made", 0..<20)))
    let statistics = folder.file("statistics.npz")
    try made.write(to: statistics)
    let again = try await evaluator.reference(statistics, options())
    #expect(again.pooled.mean == made.pooled.mean)
    #expect(again.pooled.covariance == made.pooled.covariance)
    #expect(again.spatial?.covariance == made.spatial?.covariance)
    #expect(again.features == made.features)
    let both = folder.file("both.npz")
    let mu = NumPyWriter.Item("mu", shape: [48], [Double](repeating: 2, count: 48))
    let sigma = NumPyWriter.Item("sigma", shape: [48, 48], made.pooled.covariance)
    try NumPyWriter.write([pictures(0..<9), mu, sigma], to: both)
    let reference = try await evaluator.reference(both, options())
    #expect(reference.pooled.mean == [Double](repeating: 2, count: 48))
    #expect(reference.features?.count == 9 * 48)
    #expect(reference.spatial == nil)
    #expect(try await evaluator.reference(both, options(features: false)).features == nil)
  }

  @Test func featuresAlone() async throws {
    let evaluator = try await MeansNetwork.evaluator()
    let made = try await evaluator.measure(PictureFolder(folder.pictures("made", 0..<20)))
    let path = folder.file("features.npz")
    try NumPyWriter.write(
      [.init("arr_0", shape: [20, 48], try #require(made.features))], to: path)
    let reference = try await evaluator.reference(path, options())
    #expect(reference.features == made.features)
    let measured = try await evaluator.measure(featuresIn: path)
    #expect(try await evaluator.compare(measured, with: reference).frechetDistance < 1e-9)
    for (a, b) in zip(reference.pooled.covariance, made.pooled.covariance) {
      #expect(abs(a - b) < 1e-12)
    }
  }

  @Test func filesOfAnotherKind() async throws {
    let evaluator = try await MeansNetwork.evaluator()
    let path = folder.file("x.npz")
    try NumPyWriter.write([.init("labels", shape: [3], [1, 2, 3] as [Int64])], to: path)
    await expectFailure(.wrongKind, "x.npz", "labels [3] int64", "mu and sigma") {
      _ = try await evaluator.reference(path, options())
    }
    try NumPyWriter.write(
      [
        .init("mu", shape: [2], [0.0, 0]), .init("sigma", shape: [2, 2], [1.0, 0, 0, 1]),
      ], to: path)
    await expectFailure(.wrongKind, "x.npz", "mu has 2 numbers", "48") {
      _ = try await evaluator.reference(path, options())
    }
    try NumPyWriter.write([.init("f", shape: [2, 3], [Float](repeating: 0, count: 6))], to: path)
    await expectFailure(.wrongKind, "x.npz", "features of 3 numbers", "48") {
      _ = try await evaluator.reference(path, options())
    }
    let nan = [Float](repeating: .nan, count: 96)
    try NumPyWriter.write([.init("f", shape: [2, 48], nan)], to: path)
    await expectFailure(.notFinite, "x.npz", "not finite") {
      _ = try await evaluator.reference(path, options())
    }
    await expectFailure(.inputOutput, "nowhere", "check the path") {
      _ = try await evaluator.reference(folder.file("nowhere"), options())
    }
  }

  @Test func measuredOnce() async throws {
    let evaluator = try await MeansNetwork.evaluator()
    let path = try folder.pictures("real", 0..<12)
    let counter = Counter()
    func read() async throws -> Reference {
      try await evaluator.reference(path, options(cache: true)) { _, _ in counter.add() }
    }
    let first = try await read()
    let looks = counter.value
    #expect(looks > 0)
    let second = try await read()
    #expect(counter.value == looks)
    #expect(first == second)
    // Another picture, another network or damage: measured again.
    try folder.pictures("real", 12..<13)
    #expect(try await read() != first)
    #expect(counter.value > looks)
    let cached = try FileManager.default.contentsOfDirectory(atPath: folder.file("cache"))
    #expect(cached.count == 2)
    let before = counter.value
    for name in cached {
      try Data("damaged".utf8).write(to: URL(filePath: folder.file("cache/\(name)")))
    }
    _ = try await read()
    #expect(counter.value > before)
  }
}

private final class Counter: @unchecked Sendable {
  private let lock = NSLock()
  private var count = 0
  func add() { lock.withLock { count += 1 } }
  var value: Int { lock.withLock { count } }
}
