import StateSpace
import Testing
import Torch
import TorchTestSupport

@testable import MVAR

/// The transformers against the reference's recorded runs, in float32.
@Suite(.serialized) struct GoldenTransformerTests {
  init() throws { try LibTorch.load() }

  @Test(arguments: Golden.all, hasGPU ? [Device.cpu, gpu] : [.cpu])
  func samples(_ golden: Golden, device: Device) throws {
    let model = try Transformer.load(Checkpoint(golden.modelFile), device: device)
    let tokenizer = try Tokenizer.load(Checkpoint(Golden.tokenizerFile), device: device)
    let settings = try golden.settings()
    #expect(model.configuration.schedule == (try golden.schedule()))
    #expect(model.configuration.classes == settings.classes)
    try withInferenceMode {
      let sampler = Sampler(
        transformer: model, tokenizer: tokenizer, labels: settings.labels, seeds: [0, 1],
        settings: settings.labels.map { _ in
          SamplingSettings(guidance: settings.cfg, topK: 1, topP: 1)
        }, device: device)
      let scales = Array(sampler)
      for scale in scales {
        let expected = try golden.tensor("sample.tokens.\(scale.index)")
        #expect(try scale.tokens.to(.cpu).isEqual(to: expected), "scale \(scale.index)")
      }
      let logits = Tensor.concatenate(scales.map { everyEighth($0.logits.to(.cpu)) }, axis: 1)
      let expected = try golden.tensor("sample.logits_before_guidance.every8th")
      #expect(try distance(logits, expected) < 1e-3)
      let image = tokenizer.decode(fHat: scales.last!.fHat) * 0.5 + 0.5
      #expect(try distance(image.to(.cpu), golden.tensor("sample.image.float16")) < 2.0 / 255)
    }
  }

  @Test(arguments: Golden.all) func readsTheWholePyramid(_ golden: Golden) throws {
    let model = try Transformer.load(Checkpoint(golden.modelFile))
    try withInferenceMode {
      let labels = try golden.tensor("labels")
      let logits = model(
        try golden.tensor("tokenizer.teacher_input"), condition: model.condition(labels))
      let expected = try golden.tensor("train.logits.every8th")
      #expect(try distance(everyEighth(logits), expected) < 1e-3)
    }
  }

  @Test(arguments: [Golden.mvar256, .mvar64]) func runsMamba(_ golden: Golden) throws {
    let source = try Checkpoint(golden.modelFile).source(.transformer)
    let parameters = Parameters(source, dtype: .float32, device: .cpu) / "blocks" / 0 / "mamba"
    let mamba = Mamba2(parameters, width: 128)
    let x = try golden.tensor("mamba.input")
    var state: Mamba2State?
    let first = mamba(x.slice(1, 0..<30), state: &state)
    #expect(try distance(state!.ssm, golden.tensor("mamba.state_after_30.ssm")) < 1e-4)
    #expect(try distance(state!.conv, golden.tensor("mamba.state_after_30.conv")) < 1e-4)
    let second = mamba(x.slice(1, 30...), state: &state)
    #expect(try distance(state!.ssm, golden.tensor("mamba.final.ssm")) < 1e-4)
    let output = Tensor.concatenate([first, second], axis: 1)
    #expect(try distance(output, golden.tensor("mamba.output")) < 1e-4)
  }

  @Test(arguments: [(0, 0.7), (1, 1.0), (20, 1.0), (20, 0.6)])
  func filters(topK: Int, topP: Double) throws {
    let golden = Golden.mvar256
    let recorded = topP == 1 ? 0 : topP  // The reference writes 0 for no limit.
    let expected = try golden.tensor("filter.probabilities.k\(topK).p\(recorded)")
    let logits = try golden.tensor("filter.logits")
    let actual = LogitFilter(topK: topK, topP: topP)(logits).softmax()
    #expect(try distance(actual, expected) < 1e-6)
  }

  private func everyEighth(_ logits: Tensor) -> Tensor {
    let (B, L, V) = logits.shape3
    return logits.reshape(B, L, V / 8, 8).select(3, 0)
  }
}
