import CheckpointFormats
import Foundation
import Testing
import Torch
import TorchTestSupport

@testable import MVAR

/// Models wherever `torch.save` put them.
@Suite struct TrainingCheckpointTests {
  init() throws { try LibTorch.load() }

  @Test func bothModelsAreFoundInATrainingCheckpoint() throws {
    let checkpoint = try Checkpoint(CheckpointFixture.training)
    #expect(checkpoint.parts[.transformer]?.path == "trainer.mvar_wo_ddp")
    #expect(checkpoint.parts[.tokenizer]?.path == "trainer.vae_local")
    let model = try Transformer.load(checkpoint).configuration
    #expect(model.kind == .mvar && model.attentionNorm == .l2 && !model.sharedAdaLN)
    #expect((model.depth, model.width, model.heads, model.hidden) == (1, 64, 1, 64))
    #expect((model.classes, model.vocabulary, model.codeChannels) == (3, 32, 4))
    #expect(model.schedule.description == "1,2")
    let tokenizer = try Tokenizer.load(checkpoint).configuration
    #expect((tokenizer.channels, tokenizer.multipliers) == (32, [1]))
    #expect((tokenizer.vocabulary, tokenizer.codeChannels) == (32, 4))
    #expect(tokenizer.phi == .partial(2) && tokenizer.residualBlocks == 1)
    #expect(tokenizer.levelAttention && tokenizer.middleAttention)
  }

  @Test func theSummaryTellsWhatIsInside() throws {
    let summary = try CheckpointSummary(Checkpoint(CheckpointFixture.training))
    #expect(summary.parts.map(\.kind) == ["M-VAR", "tokenizer"])
    #expect(summary.parts.map(\.place) == ["trainer.mvar_wo_ddp", "trainer.vae_local"])
    #expect(summary.parts.map(\.dtypes) == [["float32"], ["float32"]])
    #expect(summary.parts[0].scales == "1,2" && summary.parts[1].phi == "partial (2)")
    let size = try Data(contentsOf: URL(filePath: CheckpointFixture.training)).count
    #expect(summary.bytes == size)
  }

  @Test func namesOfDistributedTraining() throws {
    let checkpoint = try Checkpoint(CheckpointFixture.distributed)
    #expect(checkpoint.parts.keys.map { $0 } == [.transformer])
    #expect(checkpoint.parts[.transformer]?.path == "module")
    #expect(checkpoint.tensors.allSatisfy { $0.name.hasPrefix("module.") })
    #expect(checkpoint.tensors.contains { !$0.isContiguous })
    #expect(try Transformer.load(checkpoint).configuration.kind == .var)
  }

  /// Also shows that weights which lie transposed in memory are read right: the conversion lays
  /// them out anew.
  @Test(arguments: [CheckpointFixture.training, CheckpointFixture.distributed])
  func aConvertedModelComputesTheSame(_ path: String) throws {
    let folder = try TemporaryFolder()
    let checkpoint = try Checkpoint(path)
    let converted = folder.file("model.safetensors")
    try checkpoint.convert(to: converted, role: .transformer)
    let other = try Checkpoint(converted)
    #expect(other.parts[.transformer]?.path == "")
    #expect(other.tensors.allSatisfy { $0.isContiguous })
    let expected = try logits(checkpoint)
    #expect(try logits(other).isEqual(to: expected))
    #expect(try folder.contents == ["model.safetensors"])
  }

  /// Logits of three classes for some input.
  private func logits(_ checkpoint: Checkpoint) throws -> Tensor {
    let model = try Transformer.load(checkpoint)
    return try withInferenceMode {
      model(.randn([3, 4, 4], seed: 1), condition: model.condition(.of([0, 1, 3])))
    }
  }
}
