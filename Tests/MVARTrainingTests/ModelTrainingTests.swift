import Foundation
import MVAR
import Pictures
import Synchronization
import Testing
import Torch
import TorchTestSupport

@testable import MVARTraining

/// Whole runs of a tiny model.
@Suite(.serialized) struct ModelTrainingTests {
  private let folder: TemporaryFolder

  init() throws {
    try LibTorch.load()
    folder = try TemporaryFolder()
  }

  private func options(_ name: String, resumes: Bool = false) -> ModelTrainingOptions {
    .tiny(folder.file(name), saveEvery: 2, resumes: resumes)
  }

  @discardableResult
  private static func run(
    _ options: ModelTrainingOptions, steps: Int = 7,
    settings change: @escaping @Sendable (inout ModelTrainingSettings) -> Void = { _ in },
    events: @escaping @Sendable (TrainingEvent) -> Void = { _ in }
  ) async throws -> String {
    try await ModelTraining().run(options) { settings in
      let toy = Learners.settings()
      if !options.resumes { settings = toy }
      settings.steps = steps
      change(&settings)
    } data: { settings, _ in
      let pictures = Learners.batch(10)
      return TrainingData(
        try TokensInMemory(
          pictures.tokens, labels: pictures.labels, batch: settings.batch, seed: settings.seed),
        validation: [Learners.batch(4, seed: 9)], classNames: ["a", "b", "c"])
    } events: {
      events($0)
    }
  }

  private func bytes(_ path: String) throws -> Data { try Data(contentsOf: URL(filePath: path)) }

  @Test func aResumedRunEndsWithTheSameBytes() async throws {
    let whole = try await Self.run(options("whole"))
    // Stopped by cancelling after its third step, and gone on with.
    let stopped = options("stopped")
    let task = Task {
      try await Self.run(
        stopped,
        events: { event in
          guard case .step(let report) = event, report.step == 3 else { return }
          withUnsafeCurrentTask { $0?.cancel() }
        })
    }
    await #expect(throws: CancellationError.self) { try await task.value }
    let state = try RunState(checkpoint: folder.file("stopped/checkpoints/step-0000003"))
    #expect(state.step == 3 && state.classNames == ["a", "b", "c"])
    let resumed = try await Self.run(options("stopped", resumes: true))
    #expect(try bytes(resumed) == bytes(whole))
    for file in ["model", "average", "optimizer"] {
      let end = "checkpoints/step-0000007/\(file).safetensors"
      #expect(try bytes(folder.file("stopped/\(end)")) == bytes(folder.file("whole/\(end)")))
    }
  }

  @Test func theLogHasEveryStepOnce() async throws {
    try await Self.run(options("run"), steps: 4)
    try await Self.run(options("run", resumes: true), steps: 6)
    let lines = try String(contentsOfFile: folder.file("run/log.jsonl"), encoding: .utf8)
      .split(separator: "\n")
      .map { try JSONSerialization.jsonObject(with: Data($0.utf8)) as! [String: Any] }
    let losses = lines.filter { $0["train/loss"] is Double }
    #expect(losses.map { $0["step"] as? Int } == [1, 2, 3, 4, 5, 6])
    #expect(losses.allSatisfy { $0["train/accuracy/scale3"] is Double })
    #expect(losses.allSatisfy { ($0["train/usage/scale1"] as? Double ?? -1) > 0 })
    #expect(lines.contains { $0["validation/loss/scale1"] is Double })
    #expect(lines.contains { $0["validation_average/loss"] is Double })
  }

  @Test func theModelLoadsAsAPublishedOne() async throws {
    let path = try await Self.run(options("run"), steps: 2)
    let file = try Checkpoint(path)
    let model = try Transformer.load(file)
    #expect(model.configuration.classes == 3 && model.configuration.schedule == Learners.schedule)
    let golden = try Checkpoint(Golden.mvar256.modelFile).parts[.transformer]!.tensors
    #expect(
      Set(file.tensors.map(\.name)) == Set(golden.map(\.name)),
      "the reference's module wants exactly these")
  }

  @Test func samplesAreDrawn() async throws {
    var options = options("run")
    (options.sampleEvery, options.samples) = (2, 3)
    try await Self.run(options, steps: 2)
    let sheet = try Picture(contentsOf: folder.file("run/samples/step-2.png"))
    // Two columns of 48 pixels, 2 apart.
    #expect(sheet.width == 98 && sheet.height == 98)
  }

  /// The operations of the reference's own modules, counted parameter by parameter.
  @Test func theCostCountsWhatActsOnATokenAndOnce() throws {
    var configuration = TransformerConfiguration(depth: 2, schedule: Learners.schedule)
    (configuration.classes, configuration.vocabulary, configuration.codeChannels) = (10, 64, 8)
    let weights = try MasterWeights(
      Initialization(configuration, seed: 0), configuration: configuration, device: .cpu)
    var (perToken, perPicture) = (0, 0)
    for (name, tensor) in weights.named where tensor.rank == 2 {
      if name.hasSuffix("class_emb.weight") || name.hasSuffix("lvl_embed.weight") { continue }
      if name.contains("ada_lin") { perPicture += tensor.count } else { perToken += tensor.count }
    }
    let (C, L) = (128.0, 14.0)
    let scores = 2 * 2 * C * (1 + 16 + 81)
    let scan = 2 * L * 2 * 2 * C * 64
    let expected = 6 * (Double(perToken) * L + Double(perPicture) + scores + scan)
    #expect(TrainingCost(configuration).operationsPerPicture == expected)
  }

  @Test func otherSettingsAreNamed() async throws {
    try await Self.run(options("run"), steps: 2)
    let error = await #expect(throws: TrainingError.self) {
      try await Self.run(options("run", resumes: true), steps: 2) {
        ($0.depth, $0.baseRate) = (3, 0.25)
      }
    }
    #expect(error?.kind == .resume)
    #expect(error?.description.contains("base-rate is 0.05, not 0.25; depth is 2, not 3") == true)
  }

  @Test func anotherRunIsNotOverwritten() async throws {
    try await Self.run(options("run"), steps: 2)
    let again = await #expect(throws: TrainingError.self) {
      try await Self.run(options("run"), steps: 2)
    }
    #expect(again?.description.contains("has a run at step 2; go on with it by --resume") == true)
    let nothing = await #expect(throws: TrainingError.self) {
      try await Self.run(options("new", resumes: true), steps: 2)
    }
    #expect(nothing?.description.contains("no checkpoint to go on from") == true)
  }

  @Test func divergenceKeepsTheLastCheckpoint() async throws {
    let error = await #expect(throws: TrainingError.self) {
      try await Self.run(options("run"), steps: 50) { ($0.baseRate, $0.clip) = (1e30, 0) }
    }
    #expect(error?.kind == .divergence)
    #expect(error?.description.contains("at step") == true)
  }
}
