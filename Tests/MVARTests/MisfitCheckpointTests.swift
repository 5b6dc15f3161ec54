import Testing
import Torch
import TorchTestSupport

@testable import MVAR

/// Checkpoints that are sound and yet not the model that was asked for.
@Suite struct MisfitCheckpointTests {
  init() throws { try LibTorch.load() }

  @Test(arguments: [
    "blocks.0.attn.mat_qkv.weight", "blocks.0.mamba.in_proj.weight", "blocks.0.mamba.A_log",
    "head_nm.ada_lin.1.bias", "pos_start",
  ])
  func aMissingTensorIsNamed(_ name: String) throws {
    let folder = try TemporaryFolder()
    let file = try CheckpointFixture.write(.transformer, in: folder) { $0.remove(name) }
    expectFailure(.checkpoint, file, "missing: \(name)") {
      _ = try Transformer.load(Checkpoint(file))
    }
  }

  /// Without these nothing can be read off the file.
  @Test(arguments: ["lvl_1L", "blocks.0.ffn.fc1.weight"])
  func aMissingTensorThatTellsTheShapeIsNamed(_ name: String) throws {
    let folder = try TemporaryFolder()
    let file = try CheckpointFixture.write(.transformer, in: folder) { $0.remove(name) }
    expectFailure(.checkpoint, file, name) { _ = try Transformer.load(Checkpoint(file)) }
    expectFailure(.checkpoint, file, name) { _ = try CheckpointSummary(Checkpoint(file)) }
  }

  @Test(arguments: Checkpoint.Role.allCases) func allThatDoesNotFitIsNamedAtOnce(
    _ role: Checkpoint.Role
  ) throws {
    let folder = try TemporaryFolder()
    let (gone, bent) =
      role == .transformer
      ? ("blocks.0.attn.q_bias", "blocks.0.ffn.fc2.bias")
      : ("decoder.conv_out.bias", "decoder.mid.block_1.norm1.weight")
    let file = try CheckpointFixture.write(role, in: folder) {
      $0.remove(gone)
      $0.replace(bent, with: .zeros([7]))
      $0.append(("surplus.weight", .zeros([2])))
    }
    let width = role == .transformer ? 64 : 32
    expectFailure(
      .checkpoint, file, role.rawValue, "missing: \(gone)",
      "misshapen: \(bent) is [7] and should be [\(width)]", "unexpected: surplus.weight"
    ) {
      let checkpoint = try Checkpoint(file)
      switch role {
      case .transformer: _ = try Transformer.load(checkpoint)
      case .tokenizer: _ = try Tokenizer.load(checkpoint)
      }
    }
  }

  @Test func decodingNeedsNotAllOfTheEncoder() throws {
    let folder = try TemporaryFolder()
    let file = try CheckpointFixture.write(.tokenizer, in: folder) {
      $0.remove("encoder.conv_out.weight")
      $0.replace("quant_conv.bias", with: .zeros([5]))
    }
    expectFailure(
      .checkpoint, file, "missing: encoder.conv_out.weight", "misshapen: quant_conv.bias"
    ) {
      _ = try Tokenizer.load(Checkpoint(file))
    }
    #expect(try Tokenizer.load(Checkpoint(file), encodes: false).configuration.vocabulary == 32)
  }

  @Test func aModelIsNoTokenizerAndTheOtherWayRound() throws {
    let (model, tokenizer) = (Golden.mvar64.modelFile, Golden.tokenizerFile)
    expectFailure(.checkpoint, model, "no tokenizer in this checkpoint", "it is a model") {
      _ = try Tokenizer.load(Checkpoint(model))
    }
    expectFailure(.checkpoint, tokenizer, "no model in this checkpoint", "it is a tokenizer") {
      _ = try Transformer.load(Checkpoint(tokenizer))
    }
  }

  @Test(arguments: Checkpoint.Role.allCases) func otherTensorsAreNeither(_ role: Checkpoint.Role)
    throws
  {
    let file = CheckpointFixture.layouts
    expectFailure(.checkpoint, file, "no \(role.rawValue)", "14 tensors such as float64") {
      _ = try Checkpoint(file).source(role)
    }
  }

  @Test(arguments: [
    ([0, 1, 1, 1], "not all squares"), ([0, 1, 2, 2], "not all squares"),
    ([0, 2, 2, 2], "does not count its scales upwards"),
    ([1, 0, 0, 0], "does not count its scales upwards"),
  ])
  func scalesThatMakeNoSense(_ levels: [Int], _ problem: String) throws {
    let folder = try TemporaryFolder()
    let file = try CheckpointFixture.write(.transformer, in: folder) {
      // Five tokens in the fixture: the first two are of the same scale here.
      $0.replace("lvl_1L", with: .of([levels[0]] + levels, shape: [1, 5]))
    }
    expectFailure(.checkpoint, file, problem) { _ = try Transformer.load(Checkpoint(file)) }
  }

  @Test(arguments: [[64], [65, 4], [0, 4]]) func aWidthThatMakesNoSense(_ shape: [Int]) throws {
    let folder = try TemporaryFolder()
    let file = try CheckpointFixture.write(.transformer, in: folder) {
      $0.replace("word_embed.weight", with: .zeros(shape))
    }
    expectFailure(.checkpoint, file) { _ = try Transformer.load(Checkpoint(file)) }
  }

  @Test(arguments: [[32], [32, 0], [32, 4, 1]]) func aCodebookThatMakesNoSense(_ shape: [Int])
    throws
  {
    let folder = try TemporaryFolder()
    let file = try CheckpointFixture.write(.tokenizer, in: folder) {
      $0.replace("quantize.embedding.weight", with: .zeros(shape))
    }
    expectFailure(.checkpoint, file) { _ = try Tokenizer.load(Checkpoint(file)) }
  }

  @Test(arguments: [0, 3]) func aFirstWidthThatMakesNoSense(_ width: Int) throws {
    let folder = try TemporaryFolder()
    let file = try CheckpointFixture.write(.tokenizer, in: folder) {
      $0.replace("encoder.conv_in.weight", with: .zeros([width, 3, 3, 3]))
    }
    expectFailure(.checkpoint, file) { _ = try Tokenizer.load(Checkpoint(file)) }
  }

  @Test func twoPartsNeedAChoice() throws {
    let folder = try TemporaryFolder()
    let checkpoint = try Checkpoint(CheckpointFixture.training)
    expectFailure(.checkpoint, checkpoint.file, "--part") {
      try checkpoint.convert(to: folder.file("x"))
    }
    expectFailure(.checkpoint, CheckpointFixture.distributed, "no tokenizer") {
      try Checkpoint(CheckpointFixture.distributed).convert(to: folder.file("x"), role: .tokenizer)
    }
    #expect(try folder.contents == [])
  }
}
