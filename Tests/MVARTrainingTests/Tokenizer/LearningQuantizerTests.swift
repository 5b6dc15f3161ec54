import MVAR
import Testing
import Torch
import TorchTestSupport

@testable import MVARTraining

/// Gradients through the quantiser.
@Suite struct LearningQuantizerTests {
  private let schedule: ScaleSchedule
  private let codebook: Tensor
  private let weights: MasterWeights
  private let features: Tensor

  init() throws {
    try LibTorch.load()
    schedule = try ScaleSchedule(parsing: "1,2x1,3x2")
    var settings = TokenizerTrainingSettings()
    settings.multipliers = [1, 1]
    settings.residualBlocks = 1
    settings.codes = 12
    settings.codeWidth = 4
    settings.phis = 2
    let configuration = settings.configuration
    weights = try MasterWeights(ConvolutionInitialization(seed: 5), device: .cpu) {
      _ = Tokenizer($0, configuration: configuration)
    }
    self.configuration = configuration
    codebook = weights.named.first { $0.name == TokenizerLearner.codebookName }!.tensor
    let codes = Tensor.randn([12, 4], seed: 8)
    withoutGradient { [codebook] in codebook.copyInPlace(from: codes) }
    features = Tensor.randn([2, 4, 3, 2], seed: 9)
  }

  private let configuration: TokenizerConfiguration

  private var quantizer: Quantizer {
    Tokenizer(
      Parameters(weights, dtype: .float32, device: .cpu, purpose: .training),
      configuration: configuration
    ).quantizer
  }

  @Test func decodesWhatTheTokenizerDecodes() throws {
    let tokenizer = Tokenizer(
      Parameters(weights, dtype: .float32, device: .cpu), configuration: configuration)
    let quantized = tokenizer.quantizer.learning(features, schedule: schedule, beta: 0.25)
    // The same features through the path that generates.
    var rest = features
    var fHat: Tensor?
    var used: [Tensor] = []
    for (k, size) in schedule.sizes.enumerated() {
      let map = rest.resizedArea(size.height, size.width).permute(0, 2, 3, 1).reshape(-1, 4)
      // The nearest code by the plain formula.
      let difference = map.unsqueeze(1) - codebook.detached()
      let tokens = (difference * difference).sum(2).argmin(1)
      let added = tokenizer.quantizer.contribution(
        of: codebook.detached().embedding(tokens.reshape(2, size.count)), scale: k, schedule)
      rest = rest - added
      fHat = fHat.map { $0 + added } ?? added
      used.append(tokens)
    }
    let expected = fHat!.detached()
    let limit = try tolerance(.float32, roundings: 16, of: expected)
    #expect(try distance(quantized.decoded.detached(), expected) <= limit)
    for (k, tokens) in used.enumerated() {
      let tokens = try tokens.elements(as: Int.self)
      let counts = (0..<12).map { code in Float(tokens.count { $0 == code }) }
      #expect(try quantized.hits[k].elements(as: Float.self) == counts)
    }
  }

  /// Features get the decoder's gradient as it is, and β times that of their distance to the sums of
  /// codes.
  @Test func featuresGetTheGradientOfTheFormula() throws {
    let beta = 0.25
    let leaf = features.clone()
    leaf.setRequiresGradient()
    let quantized = quantizer.learning(leaf, schedule: schedule, beta: beta)
    let down = Tensor.randn(features.shape, seed: 11)
    (quantized.loss + (quantized.decoded * down).sum()).backward()
    let gradient = try #require(leaf.gradient)

    let plain = quantizer
    var rest = features
    var fHat = Tensor.zeros(features.shape)
    var expected = down
    let count = Double(features.count * schedule.count)
    for (k, size) in schedule.sizes.enumerated() {
      let map = rest.resizedArea(size.height, size.width).permute(0, 2, 3, 1).reshape(-1, 4)
      let added = plain.contribution(
        of: codebook.embedding(plain.nearest(map).reshape(2, size.count)), scale: k, schedule
      ).detached()
      rest = rest - added
      fHat = fHat + added
      expected = expected + (features - fHat) * (2 * beta / count)
    }
    let limit = try tolerance(.float32, roundings: 16, of: expected)
    #expect(try distance(gradient, expected.detached()) <= limit)
  }

  /// The loss without β is a polynomial of codes and φ as long as no token changes, so that a central
  /// difference tells its slope.
  @Test(arguments: [
    TokenizerLearner.codebookName, "quantize.quant_resi.qresi_ls.0.weight",
    "quantize.quant_resi.qresi_ls.1.bias",
  ]) func codesAndPhiGetTheSlopeOfTheLoss(_ name: String) throws {
    let leaf = try #require(weights.named.first { $0.name == name }).tensor
    let quantized = quantizer.learning(features, schedule: schedule, beta: 0)
    quantized.loss.backward()
    let gradient = try #require(leaf.gradient)
    leaf.gradient = nil
    let direction = Tensor.randn(leaf.shape, seed: 13)
    let step = 2e-3
    func loss(_ distance: Double) throws -> Double {
      withoutGradient { leaf.addInPlace(direction, scale: distance) }
      defer { withoutGradient { leaf.addInPlace(direction, scale: -distance) } }
      let moved = quantizer.learning(features, schedule: schedule, beta: 0)
      #expect(try moved.hits.isEqual(to: quantized.hits), "a token changed; take a smaller step")
      return try moved.loss.item()
    }
    let slope = try (loss(step) - loss(-step)) / (2 * step)
    let expected = try (gradient * direction).sum().item()
    let value = try quantized.loss.item()
    // Each loss rounds some eight times; the third derivative is of φ alone and small.
    let limit = 8 * 0x1p-23 * value / step + 1e-3 * abs(expected)
    #expect(abs(slope - expected) <= limit, "\(slope) and \(expected), limit \(limit)")
    #expect(abs(expected) > 10 * limit, "a slope of \(expected) tells nothing")
  }

  @Test func picturesMayStopAtAnyScale() throws {
    let whole = quantizer.learning(features, schedule: schedule, beta: 0.25)
    let some = quantizer.learning(features, schedule: schedule, beta: 0.25, kept: [1, 3])
    #expect(try some.loss.isEqual(to: whole.loss))
    #expect(try distance(some.decoded[1].detached(), whole.decoded[1].detached()) == 0)
    let tokens = quantizer.nearest(features.resizedArea(1, 1).reshape(-1, 4)).reshape(2, 1)
    let first = quantizer.contribution(of: codebook.embedding(tokens), scale: 0, schedule)[0]
    let limit = try tolerance(.float32, roundings: 8, of: features)
    #expect(try distance(some.decoded[0].detached(), first.detached()) <= limit)
  }

  @Test func countsEveryCode() throws {
    let counts = Tensor.of([3, 0, 3, 5, 3], shape: [5]).counts(7)
    #expect(try counts.elements(as: Float.self) == [1, 0, 0, 3, 0, 1, 0])
  }
}
