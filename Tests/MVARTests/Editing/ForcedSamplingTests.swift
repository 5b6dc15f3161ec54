import Testing
import Torch
import TorchTestSupport

@testable import MVAR

/// The sampler with tokens that are given.
@Suite struct ForcedSamplingTests {
  typealias Kind = TransformerConfiguration.Kind

  init() throws { try LibTorch.load() }

  private static let settings = SamplingSettings(guidance: 2, topK: 40, topP: 0.95)

  /// A run of a random model of scales 1, 2, 3, 4 over two images.
  private func run(
    _ kind: Kind, given: GivenTokens? = nil, smooth: Bool = false, noise: [DrawingNoise]? = nil
  ) throws -> [Sampler.Scale] {
    let configuration = try RandomModels.configuration(kind, scales: "1,2,3,4")
    var settings = Self.settings
    settings.smooth = smooth
    return try withInferenceMode {
      Array(
        Sampler(
          transformer: try RandomModels.transformer(configuration),
          tokenizer: RandomModels.tokenizer(), labels: [3, 1],
          noise: noise ?? [.seed(7), .seed(8)], given: given,
          settings: [settings, settings]))
    }
  }

  /// Any tokens, and shares by `share` of scale and place.
  private func given(_ share: (Int, Int) -> Float) throws -> (GivenTokens, TokenPyramid) {
    let schedule = try ScaleSchedule(parsing: "1,2,3,4")
    let pyramid = try TokenPyramid(
      schedule: schedule,
      scales: schedule.sizes.enumerated().map { k, size in
        .of((0..<2 * size.count).map { ($0 * 5 + k) % 64 }, shape: [2, size.count])
      })
    let shares = schedule.sizes.enumerated().map { k, size in
      Tensor.of((0..<2 * size.count).map { share(k, $0 % size.count) }, shape: [2, size.count])
    }
    return (GivenTokens(pyramid, drawn: shares), pyramid)
  }

  @Test(arguments: Kind.allCases, [false, true]) func drawingEverythingIsSampling(
    _ kind: Kind, smooth: Bool
  ) throws {
    let forced = try run(kind, given: given { _, _ in 1 }.0, smooth: smooth)
    for (scale, plain) in zip(forced, try run(kind, smooth: smooth)) {
      #expect(try scale.tokens.isEqual(to: plain.tokens))
      #expect(try scale.logits.isEqual(to: plain.logits))
      #expect(try scale.fHat.isEqual(to: plain.fHat))
    }
  }

  @Test(arguments: Kind.allCases, [false, true]) func drawingNothingIsReconstruction(
    _ kind: Kind, smooth: Bool
  ) throws {
    let (given, pyramid) = try given { _, _ in 0 }
    let fHats = RandomModels.tokenizer().quantizer.fHats(pyramid)
    for (k, scale) in try run(kind, given: given, smooth: smooth).enumerated() {
      #expect(try scale.tokens.isEqual(to: pyramid.scales[k]))
      #expect(try scale.fHat.isEqual(to: fHats[k]))
    }
  }

  /// The model reads the mixture: the tokens that stand, taught as a whole, give the same logits.
  @Test(arguments: Kind.allCases) func statesSeeTheMixture(_ kind: Kind) throws {
    let (given, pyramid) = try given { k, place in (k + place) % 2 == 0 ? 1 : 0 }
    let scales = try run(kind, given: given)
    let plain = try run(kind)
    #expect(try !scales[3].logits.isEqual(to: plain[3].logits))
    for (k, scale) in scales.enumerated() {
      let (tokens, stands) = (
        try scale.tokens.elements(as: Int64.self),
        try pyramid.scales[k].elements(as: Int64.self)
      )
      let count = pyramid.schedule.sizes[k].count
      for place in tokens.indices where (k + place % count) % 2 == 1 {
        #expect(tokens[place] == stands[place])
      }
      #expect(k == 0 || tokens != stands)
    }
    let model = try RandomModels.transformer(RandomModels.configuration(kind, scales: "1,2,3,4"))
    try withInferenceMode {
      let mixture = try TokenPyramid(schedule: pyramid.schedule, scales: scales.map(\.tokens))
      let input = RandomModels.tokenizer().quantizer.teacherInput(mixture).repeated(2, 1, 1)
      let none = model.unconditionalLabel
      let whole = model(input, condition: model.condition(.of([3, 1, none, none])))
      let sampled = Tensor.concatenate(scales.map(\.logits), axis: 1)
      let tolerance = try tolerance(.float32, roundings: 128, of: whole)
      #expect(try distance(sampled, whole) < tolerance)
    }
  }

  /// A token of the last scale changes f̂ as far as φ's 3 × 3 convolution reaches, and no further.
  @Test(arguments: Kind.allCases) func theRestStaysAsItIs(_ kind: Kind) throws {
    let (given, pyramid) = try given { k, place in k == 3 && place == 0 ? 1 : 0 }
    let result = try run(kind, given: given)[3].fHat
    let kept = RandomModels.tokenizer().quantizer.fHats(pyramid)[3]
    let isEqual = (result .== kept).to(.float32).min(1)
    let equal = try isEqual[0].elements(as: Float.self)
    #expect(
      equal == (0..<16).map { $0 / 4 < 2 && $0 % 4 < 2 ? 0 : 1 })
  }

  /// A quarter of what is drawn, three quarters of what is given.
  @Test func sharesMixCodes() throws {
    let (given, pyramid) = try given { _, _ in 0.25 }
    let quantizer = RandomModels.tokenizer().quantizer
    let drawn = try run(.mvar)[0]
    let mixed = try run(.mvar, given: given)[0]
    let codes =
      quantizer.codebook.embedding(drawn.tokens) * 0.25
      + quantizer.codebook.embedding(pyramid.scales[0]) * 0.75
    let expected = quantizer.contribution(of: codes, scale: 0, pyramid.schedule)
    let tolerance = try tolerance(.float32, roundings: 16, of: expected)
    #expect(try distance(mixed.fHat, expected) < tolerance)
    #expect(try mixed.tokens.isEqual(to: pyramid.scales[0]))
  }

  @Test(arguments: Kind.allCases, [false, true]) func interpolationEndsInBothSeeds(
    _ kind: Kind, smooth: Bool
  ) throws {
    let ends = try run(
      kind, smooth: smooth,
      noise: [.between(7, 9, position: 0), .between(9, 8, position: 1)])
    for (scale, plain) in zip(ends, try run(kind, smooth: smooth)) {
      #expect(try scale.tokens.isEqual(to: plain.tokens))
      #expect(try scale.fHat.isEqual(to: plain.fHat))
    }
  }
}
