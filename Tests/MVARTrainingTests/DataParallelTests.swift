import Foundation
import MVAR
import PortTestSupport
import Testing
import Torch
import TorchTestSupport

@testable import MVARTraining

/// Whole runs of a tiny model that several processes share; here each is an actor on a thread of its
/// own, which c10d cannot tell from a process.
@Suite(.serialized) struct DataParallelTests {
  private let folder: TemporaryFolder

  init() throws {
    try LibTorch.load()
    folder = try TemporaryFolder()
  }

  private func options(_ name: String, resumes: Bool = false) -> ModelTrainingOptions {
    .tiny(folder.file(name), saveEvery: 100, resumes: resumes)
  }

  /// Trains with some processes, and gives what each of them met.
  private func run(
    _ options: ModelTrainingOptions, ranks: Int, accumulation: Int = 1, batch: Int = 6,
    endingData: Int? = nil, events: @escaping @Sendable (Int, TrainingEvent) -> Void = { _, _ in }
  ) async throws -> [Result<String, any Error>] {
    let port = freePort()
    return try await withThrowingTaskGroup(of: (Int, Result<String, any Error>).self) { tasks in
      for rank in 0..<ranks {
        var options = options
        options.place = try ProcessPlace(environment: [
          "RANK": "\(rank)", "WORLD_SIZE": "\(ranks)", "MASTER_ADDR": "127.0.0.1",
          "MASTER_PORT": "\(port)",
        ])
        let mine = options
        tasks.addTask {
          let result = await Result.of {
            try await Self.train(
              mine, accumulation: accumulation, batch: batch,
              endingData: rank == ranks - 1 ? endingData : nil
            ) { events(rank, $0) }
          }
          return (rank, result)
        }
      }
      var results = [Result<String, any Error>?](repeating: nil, count: ranks)
      for try await (rank, result) in tasks { results[rank] = result }
      return results.map { $0! }
    }
  }

  private static func train(
    _ options: ModelTrainingOptions, accumulation: Int, batch: Int, endingData: Int?,
    events: @escaping @Sendable (TrainingEvent) -> Void
  ) async throws -> String {
    try await ModelTraining().run(options) { settings in
      if !options.resumes { settings = Learners.settings() }
      (settings.steps, settings.batch, settings.accumulation) = (7, batch, accumulation)
    } data: { settings, _ in
      let pictures = Learners.batch(10)
      let batches = try TokensInMemory(
        pictures.tokens, labels: pictures.labels, batch: settings.batch, seed: settings.seed)
      return TrainingData(
        endingData.map { EndingBatches(batches, after: $0) } ?? batches,
        validation: [Learners.batch(4, seed: 9)])
    } events: {
      events($0)
    }
  }

  private func bytes(_ path: String) throws -> Data {
    try Data(contentsOf: URL(filePath: folder.file(path)))
  }

  private static let files =
    ["model.safetensors"]
    + ["model", "average", "optimizer"].map { "checkpoints/step-0000007/\($0).safetensors" }

  @Test(arguments: [2, 3]) func aSharedOptimizerStepsAsAWholeOne(ranks: Int) async throws {
    var whole = options("whole")
    whole.sharesOptimizer = false
    for result in try await run(whole, ranks: ranks) { _ = try result.get() }
    for result in try await run(options("shared"), ranks: ranks) { _ = try result.get() }
    for file in Self.files {
      #expect(try bytes("shared/\(file)") == bytes("whole/\(file)"), "\(file)")
    }
    #expect(try bytes("shared/model.safetensors").count > 1 << 16)
  }

  @Test func twoProcessesAreAsOneWithTwoMicroBatches() async throws {
    for result in try await run(options("two"), ranks: 2) { _ = try result.get() }
    _ = try await run(options("one"), ranks: 1, accumulation: 2)[0].get()
    for file in Self.files { #expect(try bytes("two/\(file)") == bytes("one/\(file)"), "\(file)") }
  }

  /// Begun by two processes, stopped by one of them, and gone on with by as many as are there then.
  @Test(arguments: [1, 2, 3]) func resumesWithOtherNumbersOfProcesses(ranks: Int) async throws {
    for result in try await run(options("whole"), ranks: 2) { _ = try result.get() }
    let stopped = try await run(
      options("run"), ranks: 2,
      events: { rank, event in
        guard rank == 1, case .step(let report) = event, report.step == 3 else { return }
        withUnsafeCurrentTask { $0?.cancel() }
      })
    for result in stopped { #expect(throws: CancellationError.self) { try result.get() } }
    #expect(RunFolder.saved(in: folder.file("run")).map(\.step) == [3])
    let resumed = try await run(
      options("run", resumes: true), ranks: ranks, accumulation: ranks == 1 ? 2 : 1)
    for result in resumed { _ = try result.get() }
    if ranks < 3 {
      for file in Self.files { #expect(try bytes("run/\(file)") == bytes("whole/\(file)")) }
    } else {
      // Three parts of a batch are added in another order than two.
      let distance = try relativeDistance(
        weights("run/model.safetensors"), weights("whole/model.safetensors"))
      #expect(distance > 0 && distance < 1e-3)
    }
  }

  private func weights(_ path: String) throws -> [Tensor] {
    let file = try Checkpoint(folder.file(path))
    let source = CheckpointSource(file: folder.file(path), tensors: file.tensors)
    var weights: [Tensor] = []
    for stored in file.tensors where stored.name.hasSuffix("weight") {
      try source.read(stored) { weights.append($0.to(.float32)) }
    }
    return weights
  }

  @Test func aProcessThatDiesEndsTheOthers() async throws {
    let results = try await run(options("run"), ranks: 3, endingData: 3)
    for result in results[..<2] {
      let error = #expect(throws: TrainingError.self) { try result.get() }
      #expect(error?.kind == .process)
      #expect(error?.description.contains("has died or hangs") == true, "\(error!)")
    }
    let own = #expect(throws: TrainingError.self) { try results[2].get() }
    #expect(own?.description == "the data ends")
    // What it left can be gone on with, or there is nothing yet; never half of something.
    #expect(RunFolder.saved(in: folder.file("run")).isEmpty)
  }

  @Test func whatTheFirstProcessMeetsIsToldToTheOthers() async throws {
    var options = options("run")
    options.sampleEvery = 2
    // A file where the samples' folder would be.
    try FileManager.default.createDirectory(
      atPath: folder.file("run"), withIntermediateDirectories: true)
    _ = try folder.write(Data(), to: "run/samples")
    let results = try await run(options, ranks: 2)
    let first = #expect(throws: TrainingError.self) { try results[0].get() }
    #expect(first?.description.contains("samples cannot be made") == true)
    let second = #expect(throws: TrainingError.self) { try results[1].get() }
    #expect(second?.kind == .process)
    #expect(
      second?.description.hasPrefix("the first process of this run has failed: ") == true
        && second?.description.contains("samples cannot be made") == true)
  }

  @Test func aBatchIsSharedEvenly() async throws {
    for result in try await run(options("run"), ranks: 2, accumulation: 2) {
      let error = #expect(throws: TrainingError.self) { try result.get() }
      #expect(
        error?.description == "batch is 6, which 2 processes with 2 micro-batches each cannot "
          + "share; use a multiple of 4")
    }
  }
}

@Suite struct WeightShareTests {
  init() throws { try LibTorch.load() }

  @Test func dealsEvenly() {
    let counts = (0..<40).map { ("w\($0)", 100 + 7 * ($0 % 11)) } + [("large", 900)]
    let share = WeightShare(counts, rank: 1, ranks: 3)
    let loads = (0..<3).map { rank in
      counts.filter { share.owner($0.0) == rank }.reduce(0) { $0 + $1.1 }
    }
    #expect(loads.max()! - loads.min()! <= 170, "\(loads)")
    #expect(counts.allSatisfy { share.isOwn($0.0) == (share.owner($0.0) == 1) })
    #expect(
      counts.allSatisfy { WeightShare(counts, rank: 2, ranks: 3).owner($0.0) == share.owner($0.0) })
  }

  @Test func aloneOwnsAll() {
    let share = WeightShare([("a", 3), ("b", 5)], rank: 0, ranks: 1)
    #expect(!share.isShared && share.isOwn("a") && share.isOwn("b"))
  }

  @Test func modulationsComeLastInTheBackwardPass() throws {
    let names = ["class_emb.weight", "pos_1LC", "blocks.0.ada_lin.1.weight", "blocks.0.attn.q"]
    let more = ["blocks.1.ada_lin.1.weight", "blocks.1.attn.q", "head_nm.ada_lin.1.bias", "head.w"]
    let weights = (names + more).enumerated().map {
      (name: $0.element, tensor: Tensor.full([1], Double($0.offset)))
    }
    let order = try ModelLearner.backwardOrder(weights).map { Int(try $0.item()) }
    #expect(order == [7, 5, 3, 1, 4, 2, 6, 0])
  }
}

/// Batches that end with an error, as a process that dies does.
private final class EndingBatches: TokenBatches {
  private let batches: TokensInMemory
  private var rest: Int

  init(_ batches: TokensInMemory, after count: Int) { (self.batches, rest) = (batches, count) }

  var schedule: ScaleSchedule { batches.schedule }
  var classes: Int { batches.classes }
  var batchesPerEpoch: Int { batches.batchesPerEpoch }
  var position: DataPosition { batches.position }
  func seek(to position: DataPosition) { batches.seek(to: position) }

  func next() throws -> TokenBatch {
    rest -= 1
    guard rest >= 0 else { throw TrainingError(.data, "the data ends") }
    return batches.next()
  }
}

extension Result where Failure == any Error {
  fileprivate static func of(_ body: () async throws -> Success) async -> Self {
    do { return .success(try await body()) } catch { return .failure(error) }
  }
}
