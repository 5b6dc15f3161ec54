import FeatureNetworks
import Foundation
@testable import MVAREvaluation
import Pictures
import Testing
import Torch
import TorchTestSupport

@Suite struct EvaluatorTests {
  let folder: TemporaryFolder

  init() throws {
    folder = try TemporaryFolder()
    try LibTorch.load()
  }

  /// The published tools' figures for the same pictures and the same random Inception: the pictures go in
  /// as files, and everything on the way is what `mvar evaluate` runs.
  @Test func agreesWithThePublishedTools() async throws {
    let identity = NetworkIdentity(
      metric: "FD", network: "formula", digest: "none", preprocessing: "tensorflow")
    let evaluator = try await Evaluator(
      .custom(identity) { device in
        let parameters = Parameters(FormulaSource(), dtype: .float32, device: device)
        return InceptionFeatures(network: InceptionV3(parameters))
      }, options: .init(precision: .float32, place: .cpu), batch: 7)
    var options = Evaluator.ReferenceOptions()
    options.cache = nil
    let real = try await evaluator.reference(
      folder.pictures("real", Expected.real), options)
    let made = try await evaluator.measure(
      PictureFolder(folder.pictures("made", Expected.generated)))
    let result = try await evaluator.compare(made, with: real)
    let expected = try Expected.figures()
    #expect(abs(result.frechetDistance - expected.fid) < 1e-3 * expected.fid)
    #expect(abs(result.frechetDistance - expected.fid_by_pytorch_fid) < 1e-3 * expected.fid)
    let places = try #require(result.spatialFrechetDistance)
    #expect(abs(places - expected.sfid) < 1e-3 * expected.sfid)
    #expect(result.precisionRecall?.precision == expected.precision_3)
    #expect(result.precisionRecall?.recall == expected.recall_3)
    // 12 pictures are one part of 5,000.
    let score = try #require(result.scores?.paper)
    #expect(abs(score.mean - expected.inception_score_1.mean) < 1e-4)
    let features = Tensor.of(try #require(made.features), shape: [12, 2048])
    #expect(try relativeDistance(features, Expected.tensor("generated.pooled")) < 1e-4)
    #expect(result.warnings.count == 2 && result.warnings[0].contains("the pictures are 12"))
  }

  @Test func batchesAndWaysAreIrrelevant() async throws {
    let source = try PictureFolder(folder.pictures("a", 0..<13))
    let (five, all) = (
      try await MeansNetwork.evaluator(batch: 5), try await MeansNetwork.evaluator(batch: 64)
    )
    let measured = try await five.measure(source)
    let other = try await all.measure(source)
    #expect(measured.features == other.features)
    for (a, b) in zip(measured.pooled.covariance, other.pooled.covariance) {
      #expect(abs(a - b) < 1e-12)
    }
    // By hand: pictures bit by bit, and features that were computed before.
    var plan = MeasuringPlan(count: 13, keepsFeatures: true, isGrouped: true)
    let set = await five.begin(plan)
    for start in stride(from: 0, to: 13, by: 5) {
      try await five.add(try await source.pictures(start..<min(start + 5, 13)), to: set)
    }
    #expect(try await five.finish(set) == measured)
    let replay = await five.begin(plan)
    for start in stride(from: 0, to: 13, by: 5) {
      let pictures = try await source.pictures(start..<min(start + 5, 13))
      try await five.add(five.features(of: pictures), to: replay)
    }
    #expect(try await five.finish(replay) == measured)
    plan.keepsFeatures = false
    #expect(try await five.measure(source, keepsFeatures: false).features == nil)
  }

  @Test func theSameSetIsAtNoDistance() async throws {
    let evaluator = try await MeansNetwork.evaluator()
    let set = try await evaluator.measure(PictureFolder(folder.pictures("a", 0..<60)))
    let result = try await evaluator.compare(set, with: Reference(set))
    #expect(result.frechetDistance < 1e-9)
    #expect(result.precisionRecall == PrecisionRecall(precision: 1, recall: 1))
    #expect(result.network.metric == "FD-means")
    #expect(result.warnings.isEmpty)
    let other = try await evaluator.measure(PictureFolder(folder.pictures("b", 300..<360)))
    var comparison = Evaluator.Comparison()
    (comparison.neighbours, comparison.kernel, comparison.resamples) = (false, false, 10)
    let far = try await evaluator.compare(other, with: Reference(set), comparison)
    #expect(far.frechetDistance > 1e-3)
    #expect(far.precisionRecall == nil && far.kernelDistance == nil)
    #expect(try #require(far.interval).low < far.frechetDistance)
    let json = try JSONSerialization.jsonObject(with: JSONEncoder().encode(far)) as? [String: Any]
    #expect(json?["metric"] as? String == "FD-means")
    #expect(json?["frechet_distance"] as? Double == far.frechetDistance)
  }

  @Test func featuresThatAreNotFinite() async throws {
    let path = try folder.pictures("a", 0..<13)
    let first = Int(Expected.pictures(7..<8)[0].pixels[0])
    let others = Expected.pictures(0..<7).map { Int($0.pixels[0]) }
    try #require(!others.contains(first))
    let evaluator = try await MeansNetwork.evaluator(poison: Double(first))
    await expectFailure(.notFinite, "\(path)/1007.png", "not finite") {
      _ = try await evaluator.measure(PictureFolder(path))
    }
  }

  @Test func tooFewForNeighbours() async throws {
    let evaluator = try await MeansNetwork.evaluator()
    let set = try await evaluator.measure(PictureFolder(folder.pictures("a", 0..<3)))
    let result = try await evaluator.compare(set, with: Reference(set))
    #expect(result.precisionRecall == nil)
    #expect(result.warnings.contains { $0.contains("at least 4") })
    #expect(result.warnings.contains { $0.contains("the pictures are 3") && $0.contains("48") })
  }

  @Test func cancellation() async throws {
    let source = try PictureFolder(folder.pictures("a", 0..<20))
    let evaluator = try await MeansNetwork.evaluator(batch: 1)
    let task = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      return try await evaluator.measure(source)
    }
    await #expect(throws: CancellationError.self) { try await task.value }
  }
}

@Suite struct PictureSourceTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test func findsAllPictures() async throws {
    try folder.pictures("a/y", 0..<2)
    try folder.pictures("a/x", 2..<4)
    try folder.pictures("a/.hidden", 4..<5)
    try Data("text".utf8).write(to: URL(filePath: folder.file("a/readme.txt")))
    let source = try PictureFolder(folder.file("a") + "/")
    #expect(source.files == ["x/1002.png", "x/1003.png", "y/1000.png", "y/1001.png"])
    #expect(try await source.pictures(1..<3) == Expected.pictures(3..<4) + Expected.pictures(0..<1))
    #expect(try PictureFolder(folder.file("a"), limit: 2).files == ["x/1002.png", "y/1000.png"])
  }

  @Test func greyPicturesCountAsColours() async throws {
    let grey = URL(filePath: Expected.folder).deletingLastPathComponent()
      .appending(path: "pictures/gray.jpg").path
    try FileManager.default.createDirectory(
      atPath: folder.file("g"), withIntermediateDirectories: true)
    try FileManager.default.copyItem(atPath: grey, toPath: folder.file("g/gray.jpg"))
    let picture = try await PictureFolder(folder.file("g")).pictures(0..<1)[0]
    #expect(picture == (try Picture(contentsOf: grey)))
    #expect(picture[0, 0].red == picture[0, 0].green && picture[0, 0].red == picture[0, 0].blue)
  }

  @Test func mixedSizes() async throws {
    try folder.pictures("a", 0..<3)
    try Picture(width: 40, height: 50, filledWith: .black).write(to: folder.file("a/2.png"))
    let source = try PictureFolder(folder.file("a"))
    await expectFailure(.pictures, "a/2.png", "40 × 50", "64 × 64", "--size 40") {
      _ = try await source.pictures(0..<4)
    }
    let fitted = try PictureFolder(folder.file("a"), fitting: .init(side: 32))
    #expect(try await fitted.pictures(0..<4).allSatisfy { $0.width == 32 && $0.height == 32 })
  }

  @Test func whatHoldsNone() async throws {
    try FileManager.default.createDirectory(
      atPath: folder.file("empty"), withIntermediateDirectories: true)
    await expectFailure(.pictures, "empty", "holds no pictures") {
      _ = try PictureFolder(folder.file("empty"))
    }
    await expectFailure(.inputOutput, "nowhere", "check the path") {
      _ = try PictureFolder(folder.file("nowhere"))
    }
    try Data("no picture".utf8).write(to: URL(filePath: folder.file("empty/a.png")))
    #expect(throws: PictureError.self) { try PictureFolder(folder.file("empty")) }
  }

  @Test func fingerprints() throws {
    try folder.pictures("a", 0..<3)
    let before = try PictureFolder(folder.file("a"))
    #expect(before.fingerprint == (try PictureFolder(folder.file("a")).fingerprint))
    #expect(
      before.fingerprint
        != (try PictureFolder(folder.file("a"), fitting: .init(side: 9)).fingerprint))
    try folder.pictures("a", 3..<4)
    #expect(before.fingerprint != (try PictureFolder(folder.file("a")).fingerprint))
  }
}
