import Foundation
import MVAR
@testable import MVAREvaluation
import Pictures
import Testing
import Torch
import TorchTestSupport

@Suite struct RecordFolderTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func records() throws -> RecordFolder {
    let records = RecordFolder(folder.path, stem: "features", size: 5)
    try records.scan()
    return records
  }

  @Test func whatIsTornIsPassedOver() throws {
    let first = try records()
    for index in [4, 1, 7] {
      try first.append(index, [UInt8](repeating: UInt8(index), count: 5), rank: 0)
    }
    let file = folder.file("features-0-0.records")
    let whole = try Data(contentsOf: URL(filePath: file))
    #expect(whole.count == 3 * 21)
    for count in 0..<whole.count {
      try whole.prefix(count).write(to: URL(filePath: file))
      #expect(try records().count == count / 21)
    }
    var torn = whole
    torn[25] ^= 1
    try torn.write(to: URL(filePath: file))
    #expect(try records().indices == [4, 7])
    // What is written later goes to a file of its own.
    try torn.prefix(30).write(to: URL(filePath: file))
    let second = try records()
    try second.append(9, [9, 9, 9, 9, 9], rank: 0)
    try second.scan()
    #expect(second.indices == [4, 9])
    #expect(try second.read(9) == [9, 9, 9, 9, 9])
    #expect(throws: EvaluationError.self) { try second.read(1) }
    #expect(try folder.contents == ["features-0-0.records", "features-0-1.records"])
  }

  @Test func othersAreSeen() throws {
    let (a, b) = (try records(), try records())
    try a.append(0, [1, 2, 3, 4, 5], rank: 0)
    try b.append(1, [6, 7, 8, 9, 10], rank: 1)
    try a.scan()
    #expect(a.indices == [0, 1])
    try b.append(2, [0, 0, 0, 0, 0], rank: 1)
    try a.scan()
    #expect(a.count == 3)
    #expect(try a.read(1) == [6, 7, 8, 9, 10])
  }
}

@Suite struct GenerationRunTests {
  let folder: TemporaryFolder

  init() throws {
    folder = try TemporaryFolder()
    try LibTorch.load()
  }

  private func settings(guidance: Double = 1.5, samples: Int = 20) -> GenerationSettings {
    GenerationSettings(
      model: "d16.pth", modelDigest: "a", tokenizer: "vae.pth", tokenizerDigest: "b",
      sampling: SamplingSettings(guidance: guidance), seed: 100, samples: samples, classes: 5,
      dtype: "float32", device: "cpu", network: MeansNetwork.choice().identity)
  }

  private let lengths = (pooled: 48, spatial: 12, logits: 5)

  /// Stands for a generator: picture i is the one by formula.
  private func work(
    _ run: GenerationRun, _ evaluator: Evaluator, batches: Int = .max, of size: Int = 3
  ) async throws {
    for start in stride(from: 0, to: run.missing.count, by: size).prefix(batches) {
      _ = start
      let indices = Array(run.missing.prefix(size))
      let pictures = indices.flatMap { Expected.pictures($0..<$0 + 1) }
      try run.add(indices, await evaluator.features(of: pictures), pictures)
      try run.refresh()
    }
  }

  private func measure(_ run: GenerationRun, _ evaluator: Evaluator) async throws -> SetStatistics {
    let set = await evaluator.begin(
      MeasuringPlan(count: run.settings.samples, keepsFeatures: true))
    let next = run.batches(of: 6)
    while let features = try next() { try await evaluator.add(features, to: set) }
    return try await evaluator.finish(set)
  }

  private func open(_ name: String, _ share: ProcessShare = .init(), pictures: Bool = false) throws
    -> GenerationRun
  {
    try GenerationRun(
      folder.file(name), settings: settings(), share: share, lengths: lengths,
      pictureSize: pictures ? (64, 64) : nil)
  }

  @Test func interruptedOrSharedItIsTheSame() async throws {
    let evaluator = try await MeansNetwork.evaluator()
    let whole = try open("whole")
    try await work(whole, evaluator)
    let expected = try await measure(whole, evaluator)
    #expect(expected.count == 20)

    let begun = try open("parts")
    try await work(begun, evaluator, batches: 2)
    #expect(begun.missing.count == 14)
    // Then three processes, and after them one alone.
    for rank in 0..<2 {
      let run = try open("parts", ProcessShare(rank: rank, count: 3))
      #expect(run.done >= 6)
      try await work(run, evaluator)
    }
    let last = try open("parts")
    #expect(last.missing == Array(13..<20))
    try await work(last, evaluator)
    try await last.waitForAll()
    #expect(try await measure(last, evaluator) == expected)
  }

  @Test func thePicturesAsAnArchive() async throws {
    let evaluator = try await MeansNetwork.evaluator()
    let run = try open("run", pictures: true)
    try await work(run, evaluator)
    let path = folder.file("samples.npz")
    try run.writePictures(to: path)
    let source = try NumPyPictures(path)
    #expect(try await source.pictures(0..<20) == Expected.pictures(0..<20))
    let archive = try NumPyArchive(path)
    let labels = try archive.stream(archive["arr_1"]!).next(20 * 8)
    #expect((0..<20).map { Int(labels[$0 * 8]) } == (0..<20).map { $0 % 5 })
    // A run that had not kept its pictures makes them again.
    let other = try open("other")
    try await work(other, evaluator)
    #expect(try open("other", pictures: true).missing.count == 20)
    run.removeRecords()
    #expect(try folder.contents.contains("run"))
    #expect(try FileManager.default.contentsOfDirectory(atPath: run.folder) == ["settings.json"])
  }

  @Test func otherSettings() async throws {
    _ = try open("run")
    await expectFailure(.otherRun, "run", "guidance 1.5 where this one has 2.0", "--out") {
      _ = try GenerationRun(
        folder.file("run"), settings: settings(guidance: 2), lengths: lengths)
    }
    try Data("{}".utf8).write(to: URL(filePath: folder.file("run/settings.json")))
    await expectFailure(.malformed, "settings.json", "--out") { _ = try open("run") }
    await expectFailure(.inputOutput, "/dev/null/run", "choose a folder") {
      _ = try GenerationRun("/dev/null/run", settings: settings(), lengths: lengths)
    }
  }

  @Test func othersThatNeverCome() async throws {
    let run = try open("run", ProcessShare(rank: 0, count: 2))
    await expectFailure(.otherRun, "20 of 20 pictures are missing", "start it again") {
      try await run.waitForAll(patience: 0.05, interval: 0.01)
    }
  }

  @Test func balance() {
    #expect(settings().balanceWarning == nil)
    #expect(settings(samples: 21).balanceWarning?.contains("multiple of 5") == true)
    #expect(settings().request(7) == ImageRequest(label: 2, seed: 107))
  }

  @Test func shares() throws {
    let shares = (0..<3).map { ProcessShare(rank: $0, count: 3).range(of: 20) }
    #expect(shares == [0..<6, 6..<13, 13..<20])
    #expect(try ProcessShare(environment: [:]) == ProcessShare())
    #expect(
      try ProcessShare(environment: ["RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"])
        == ProcessShare(rank: 3, count: 8, localRank: 1))
    for bad in [["RANK": "2", "WORLD_SIZE": "2"], ["RANK": "x"], ["WORLD_SIZE": "0"]] {
      #expect(throws: EvaluationError.self) { try ProcessShare(environment: bad) }
    }
  }
}
