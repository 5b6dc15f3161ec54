import Foundation
import MVAR
import Testing
import Torch
import TorchTestSupport

@testable import MVARTraining

@Suite(.serialized) struct ModelLearnerTests {
  init() throws { try LibTorch.load() }

  /// The weights after some steps on one batch.
  private func trained(
    _ settings: ModelTrainingSettings, steps: Int = 2, recomputes: Bool = false
  ) throws -> ModelLearner {
    let learner = try Learners.learner(settings, recomputes: recomputes)
    for step in 0..<steps {
      _ = try learner.step(Learners.batch(4, seed: UInt64(step)), measures: false)
    }
    return learner
  }

  @Test func microBatchesAddUpToTheBatch() throws {
    // Both dropouts are on, so that the random numbers have to agree as well. Sums in another order
    // round differently, which AdamW's division by √v magnifies.
    let one = try trained(Learners.settings())
    let two = try trained(Learners.settings { $0.accumulation = 2 })
    #expect(try relativeDistance(two.weights.tensors, one.weights.tensors) < 1e-3)
    let other = try trained(
      Learners.settings {
        $0.seed = 0; $0.labelDropout = 0.9
      })
    #expect(try relativeDistance(other.weights.tensors, one.weights.tensors) > 1e-3)
  }

  @Test func recomputingChangesNothing() throws {
    let kept = try trained(Learners.settings())
    let recomputed = try trained(Learners.settings(), recomputes: true)
    #expect(try relativeDistance(recomputed.weights.tensors, kept.weights.tensors) < 1e-6)
  }

  @Test func learnsABatchByHeart() throws {
    let learner = try Learners.learner(
      Learners.settings {
        ($0.labelDropout, $0.stochasticDepth, $0.averaging) = (0, 0, 0)
        ($0.baseRate, $0.initialization.head) = (0.5, 1)
      }, steps: 30)
    let batch = Learners.batch(4)
    let before = try learner.evaluate([batch])
    #expect(abs(before.loss - log(512)) < 1)
    for _ in 0..<30 { _ = try learner.step(batch, measures: false) }
    let after = try learner.evaluate([batch])
    #expect(after.loss < 0.5 && after.accuracy > 90, "\(after)")
    #expect(after.losses.count == 3 && after.accuracies.count == 3)
    try learner.checkHealth()
  }

  @Test func theAverageFollowsTheWeights() throws {
    let learner = try Learners.learner(Learners.settings { $0.averaging = 0.9 })
    let first = learner.weights.tensors.map { $0.detached().clone() }
    _ = try learner.step(Learners.batch(4), measures: false)
    // After one step the share kept is min(0.9, 2 / 11).
    let expected = withoutGradient {
      zip(first, learner.weights.tensors).map { $0 * (2.0 / 11) + $1.detached() * (9.0 / 11) }
    }
    #expect(try relativeDistance(learner.average!, expected) < 1e-5)
  }

  @Test func aBadLossStopsTheWeightsAndIsNamed() throws {
    // VAR, for in M-VAR's scan a number that is none spoils the other places of its chunk as well.
    let learner = try Learners.learner(Learners.settings { $0.architecture = .var })
    _ = try learner.step(Learners.batch(4), measures: false)
    let position = learner.weights.named.first { $0.name == "pos_1LC" }!.tensor
    // Place 7 belongs to the third scale, which no coarser one reads.
    withoutGradient { position.select(1, 7).fillInPlace(.nan) }
    let before = learner.weights.tensors.map { $0.detached().clone() }
    for _ in 0..<2 { _ = try learner.step(Learners.batch(4), measures: false) }
    let error = #expect(throws: TrainingError.self) { try learner.checkHealth() }
    #expect(error?.kind == .divergence)
    #expect(error?.description == "the loss of scale 3 (3 × 3) is no number at step 2")
    for (index, name) in learner.weights.order.enumerated() where name != "pos_1LC" {
      #expect(try learner.weights.tensors[index].isEqual(to: before[index]), "\(name)")
    }
  }

  @Test func progressiveStepsTrainTheCoarseScales() throws {
    let learner = try Learners.learner(
      Learners.settings {
        ($0.progressive, $0.progressiveFirst) = (0.9, 0)
        $0.warmUpEpochs = 1
      })
    let finest = learner.weights.named.first { $0.name == "pos_1LC" }!.tensor
    let before = finest.detached().clone()
    let measures = try learner.step(Learners.batch(4), measures: true)
    #expect(measures?.scales == 1 && measures?.perScale.shape == [2, 1])
    #expect(try finest.slice(1, 1...).isEqual(to: before.slice(1, 1...)))
    #expect(try !finest.slice(1, 0..<1).isEqual(to: before.slice(1, 0..<1)))
    try learner.checkHealth()
  }

  @Test func decaysMatricesOnly() {
    let decayed = ["class_emb.weight", "head.weight", "blocks.0.mamba.in_proj.weight"]
    for name in decayed { #expect(ModelLearner.decays(name, rank: 2)) }
    #expect(ModelLearner.decays("blocks.0.mamba.conv1d.weight", rank: 3))
    for name in ["pos_1LC", "pos_start", "blocks.1.attn.scale_mul_1H11", "blocks.0.ada_gss"] {
      #expect(!ModelLearner.decays(name, rank: 3), "\(name)")
    }
    #expect(!ModelLearner.decays("lvl_embed.weight", rank: 2))
    #expect(!ModelLearner.decays("blocks.0.mamba.A_log", rank: 1))
  }

  @Test func bfloat16KeepsFloat32Weights() throws {
    let settings = Learners.settings()
    let shape = try Checkpoint(Golden.tokenizerFile).tokenizerConfiguration()
    let configuration = settings.configuration(
      classes: 3, schedule: Learners.schedule, tokenizer: shape)
    let learner = try ModelLearner(
      settings, configuration: configuration,
      initial: Initialization(configuration, settings: settings.initialization, seed: 0),
      tokenizer: Learners.tokenizer(), precision: .bfloat16, device: .cpu, steps: 10,
      stepsPerEpoch: 10)
    let exact = try Learners.learner(settings)
    let half = try learner.step(Learners.batch(4), measures: true)!.gradientNorm.item()
    let full = try exact.step(Learners.batch(4), measures: true)!.gradientNorm.item()
    #expect(abs(half - full) < 0.05 * full)
    #expect(learner.weights.tensors.allSatisfy { $0.dtype == .float32 })
  }
}

@Suite struct InitializationTests {
  init() throws { try LibTorch.load() }

  private func weights(_ settings: InitializationSettings, _ shared: Bool = false) throws
    -> [String: Tensor]
  {
    var configuration = TransformerConfiguration(depth: 2, schedule: Learners.schedule)
    configuration.sharedAdaLN = shared
    (configuration.classes, configuration.vocabulary) = (10, 64)
    let weights = try MasterWeights(
      Initialization(configuration, settings: settings, seed: 3), configuration: configuration,
      device: .cpu)
    return Dictionary(uniqueKeysWithValues: weights.named.map { ($0.name, $0.tensor) })
  }

  private func deviation(_ x: Tensor) throws -> Double {
    try x.detached().power(2).reshape(-1).mean(0).item().squareRoot()
  }

  @Test func gainsOfTheReferenceLeaveTheThirdSublayerOut() throws {
    let C = 128
    let base = (1 / Double(3 * C)).squareRoot()
    for rows in InitializationSettings.GainRows.allCases {
      var settings = InitializationSettings()
      settings.gainRows = rows
      let weight = try weights(settings)["blocks.1.ada_lin.1.weight"]!
      let parts = try (0..<9).map { try deviation(weight[$0 * C..<($0 + 1) * C]) / base }
      let gains = rows == .all ? 3 : 2
      // Of 16,384 draws; five standard deviations are 3 %.
      for part in parts[..<gains] { #expect(abs(part / 1e-5 - 1) < 0.03) }
      for part in parts[gains...] { #expect(abs(part / 0.5 - 1) < 0.03) }
    }
  }

  @Test func residualBranchesShrinkWithDepth() throws {
    let weights = try weights(.init())
    let base = (1 / Double(3 * 128)).squareRoot()
    #expect(abs(try deviation(weights["blocks.0.attn.proj.weight"]!) / base - 0.5) < 0.02)
    #expect(abs(try deviation(weights["head.weight"]!) / base - 0.02) < 0.001)
    #expect(abs(try deviation(weights["blocks.0.mamba.in_proj.weight"]!) / base - 1) < 0.03)
    #expect(abs(try deviation(weights["blocks.0.mamba.conv1d.weight"]!) - 0.02) < 0.002)
    #expect(try weights["blocks.0.attn.scale_mul_1H11"]!.isEqual(to: .full([1, 2, 1, 1], log(4))))
  }

  @Test func stepSizesOfMambaAreThoseOfItsRange() throws {
    let weights = try weights(.init())
    let steps = weights["blocks.0.mamba.dt_bias"]!.detached().softplus()
    let decays = weights["blocks.0.mamba.A_log"]!.detached().exp()
    #expect(try steps.min(0).item() >= 0.001 * 0.999 && steps.max(0).item() <= 0.1 * 1.001)
    #expect(try decays.min(0).item() >= 1 && decays.max(0).item() <= 16.001)
  }
}
