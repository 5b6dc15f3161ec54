import Testing
import Torch
import TorchTestSupport

@testable import MVAR

/// The tokenizer against the reference's recorded runs, in float32.
@Suite(.serialized) struct GoldenTokenizerTests {
  let tokenizer: Tokenizer

  init() throws {
    try LibTorch.load()
    tokenizer = try Tokenizer.load(Checkpoint(Golden.tokenizerFile))
  }

  @Test(arguments: Golden.all) func encodes(_ golden: Golden) throws {
    try withInferenceMode {
      let image = try golden.image()
      let features = tokenizer.features(of: image)
      #expect(try distance(features, golden.tensor("tokenizer.features")) < 1e-4)
      let pyramid = try tokenizer.encode(image, schedule: golden.schedule())
      for (k, tokens) in pyramid.scales.enumerated() {
        #expect(try tokens.isEqual(to: golden.tensor("tokenizer.tokens.\(k)")), "scale \(k)")
      }
    }
  }

  @Test(arguments: Golden.all) func decodes(_ golden: Golden) throws {
    try withInferenceMode {
      let schedule = try golden.schedule()
      let pyramid = try TokenPyramid(
        schedule: schedule,
        scales: schedule.sizes.indices.map { try golden.tensor("tokenizer.tokens.\($0)") })
      let fHats = tokenizer.quantizer.fHats(pyramid)
      #expect(try distance(fHats[3], golden.tensor("tokenizer.fhat.3")) < 1e-4)
      #expect(try distance(fHats.last!, golden.tensor("tokenizer.fhat")) < 1e-4)
      let expected = try golden.tensor("tokenizer.reconstruction.float16")
      // [−1, 1] is twice as wide as the pixels' range.
      #expect(try distance(tokenizer.decode(pyramid), expected) < 2 * 2.0 / 255)
      let input = tokenizer.quantizer.teacherInput(pyramid)
      #expect(try distance(input, golden.tensor("tokenizer.teacher_input")) < 1e-4)
    }
  }
}
