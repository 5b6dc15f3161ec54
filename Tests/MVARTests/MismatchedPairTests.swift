import MVAR
import Testing
import Torch
import TorchTestSupport

/// A model and a tokenizer that do not belong together.
@Suite struct MismatchedPairTests {
  init() throws { try LibTorch.load() }

  private func expectMismatch(_ model: String, _ tokenizer: String, _ parts: String...) async {
    let error = await #expect(throws: MVARError.self) {
      try await ImageGenerator(
        model: model, tokenizer: tokenizer,
        options: ComputeOptions(precision: .float32, place: .cpu, threads: 1))
    }
    #expect(error?.kind == .mismatch)
    for part in [model, tokenizer] + parts { expectLine(error, part) }
  }

  @Test func onePairInOneFileFits() async throws {
    let generator = try await ImageGenerator(
      model: CheckpointFixture.training, tokenizer: CheckpointFixture.training,
      options: ComputeOptions(precision: .float32, place: .cpu, threads: 1))
    let pictures = try await generator.pictures([.init(label: 2, seed: 1)])
    #expect((pictures[0].width, pictures[0].height) == (2, 2))
  }

  @Test func anotherVocabulary() async throws {
    let folder = try TemporaryFolder()
    let tokenizer = try CheckpointFixture.write(.tokenizer, in: folder) {
      $0.replace("quantize.embedding.weight", with: .zeros([40, 4]))
    }
    await expectMismatch(CheckpointFixture.training, tokenizer, "vocabulary is 32", "40")
  }

  @Test func anotherLengthOfCodes() async throws {
    let folder = try TemporaryFolder()
    let model = try CheckpointFixture.write(.transformer, in: folder) {
      $0.replace("word_embed.weight", with: .zeros([64, 5]))
    }
    await expectMismatch(model, CheckpointFixture.training, "length of a code is 5", "4")
  }

  /// Where every scale has its own φ, their number is that of the scales.
  @Test func anotherNumberOfScales() async throws {
    let folder = try TemporaryFolder()
    let weight = "quantize.quant_resi"
    let tokenizer = try CheckpointFixture.write(.tokenizer, in: folder) {
      $0.rename("\(weight).qresi_ls", to: weight)
      $0.append(("\(weight).2.weight", .zeros([4, 4, 3, 3])))
      $0.append(("\(weight).2.bias", .zeros([4])))
    }
    await expectMismatch(CheckpointFixture.training, tokenizer, "number of scales is 2", "3")
  }

  @Test func twoUnrelatedFiles() async throws {
    await expectMismatch(Golden.mvar64.modelFile, CheckpointFixture.training, "512", "32")
  }

  @Test func exchangedFiles() async throws {
    let error = await #expect(throws: MVARError.self) {
      try await ImageGenerator(
        model: Golden.tokenizerFile, tokenizer: Golden.mvar64.modelFile,
        options: ComputeOptions(place: .cpu))
    }
    #expect(error?.kind == .checkpoint)
    expectLine(error, Golden.tokenizerFile, "it is a tokenizer")
  }
}
