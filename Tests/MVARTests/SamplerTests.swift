import Testing
import Torch
import TorchTestSupport

@testable import MVAR

/// A picture is a function of the model, the settings, its class and its seed.
@Suite struct SamplerTests {
  typealias Kind = TransformerConfiguration.Kind

  init() throws { try LibTorch.load() }

  private static let scales = "1,2,3,4"

  /// A sampling run of a random model.
  private struct Run {
    let scales: [Sampler.Scale]

    init(
      _ kind: Kind, labels: [Int], seeds: [UInt64],
      settings: SamplingSettings = SamplingSettings(guidance: 2, topK: 40, topP: 0.95)
    ) throws {
      try self.init(kind, labels: labels, seeds: seeds, each: labels.map { _ in settings })
    }

    init(_ kind: Kind, labels: [Int], seeds: [UInt64], each settings: [SamplingSettings]) throws {
      let configuration = try RandomModels.configuration(kind, scales: SamplerTests.scales)
      let transformer = try RandomModels.transformer(configuration)
      scales = try withInferenceMode {
        Array(
          Sampler(
            transformer: transformer, tokenizer: RandomModels.tokenizer(), labels: labels,
            seeds: seeds, settings: settings))
      }
    }

    /// All tokens of each image.
    var tokens: [[Int64]] {
      get throws {
        let all = Tensor.concatenate(scales.map(\.tokens), axis: 1)
        return try (0..<all.length(0)).map { try all[$0].elements(as: Int64.self) }
      }
    }

    var fHat: Tensor { scales.last!.fHat }
  }

  @Test(arguments: Kind.allCases, [false, true])
  func neighboursPlaceAndBatchSizeDoNotMatter(_ kind: Kind, smooth: Bool) throws {
    let settings = SamplingSettings(guidance: 2, topK: 40, topP: 0.95, smooth: smooth)
    func run(_ labels: [Int], _ seeds: [UInt64]) throws -> Run {
      try Run(kind, labels: labels, seeds: seeds, settings: settings)
    }
    let alone = try run([3], [7])
    let first = try run([3, 0], [7, 8])
    let last = try run([1, 2, 2, 4, 3], [7, 1, 9, .max, 7])
    #expect(try first.tokens[0] == alone.tokens[0])
    #expect(try last.tokens[4] == alone.tokens[0])
    // Smooth sampling divides logits by a temperature of 0.005 at the last scale.
    let roundings = smooth ? 128 / 0.005 : 128
    let tolerance = try tolerance(.float32, roundings: roundings, of: alone.fHat)
    #expect(try distance(first.fHat[0], alone.fHat[0]) < tolerance)
    #expect(try distance(last.fHat[4], alone.fHat[0]) < tolerance)
  }

  @Test(arguments: Kind.allCases) func runsRepeatAndSeedsAndClassesDiffer(_ kind: Kind) throws {
    let labels = [3, 3, 3, 2]
    let seeds: [UInt64] = [7, 8, 7 + 1 << 32, 7]
    let tokens = try Run(kind, labels: labels, seeds: seeds).tokens
    #expect(try Run(kind, labels: labels, seeds: seeds).tokens == tokens)
    #expect(Set(tokens).count == 4)
  }

  @Test func smoothSamplingMixesCodes() throws {
    func run(smooth: Bool) throws -> Run {
      let settings = SamplingSettings(guidance: 2, topK: 40, topP: 1, smooth: smooth)
      return try Run(.mvar, labels: [1], seeds: [2], settings: settings)
    }
    let (plain, smooth) = (try run(smooth: false), try run(smooth: true))
    // The first scale's logits do not depend on how codes are drawn, what is drawn does.
    #expect(try plain.scales[0].logits.isEqual(to: smooth.scales[0].logits))
    let tolerance = try tolerance(.float32, roundings: 1000, of: plain.fHat)
    #expect(try distance(plain.scales[0].fHat, smooth.scales[0].fHat) > tolerance)
  }

  /// Guidance 0 needs no unconditional rows at all.
  @Test(arguments: Kind.allCases) func guidanceZeroIsTheConditionalModel(_ kind: Kind) throws {
    let settings = SamplingSettings(guidance: 0, topK: 20, topP: 0.9)
    let run = try Run(kind, labels: [4, 0], seeds: [1, 2], settings: settings)
    let model = try RandomModels.transformer(
      RandomModels.configuration(kind, scales: Self.scales))
    let quantizer = RandomModels.tokenizer().quantizer
    try withInferenceMode {
      let condition = model.condition(.of([4, 0]))
      let draw = TokenDraw(seeds: [1, 2], device: .cpu)
      var state = model.initialState()
      for (k, scale) in run.scales.enumerated() {
        let input = k == 0 ? nil : run.scales[k - 1].fHat
        let logits = model.step(
          input.map { quantizer.input(fromFHat: $0, scale: k, model.configuration.schedule) },
          condition: condition, state: &state)
        let tolerance = try tolerance(.float32, roundings: 128, of: logits)
        #expect(try distance(logits, scale.logits.slice(0, 0..<2)) < tolerance)
        let tokens = draw.tokens(LogitFilter(topK: 20, topP: 0.9)(logits), scale: k)
        #expect(try tokens.isEqual(to: scale.tokens), "scale \(k)")
      }
    }
  }

  /// (1 + t)·conditional − t·unconditional, t = guidance · k/(K−1).
  @Test(arguments: [0, 1.5, 6]) func guidanceGrowsFromScaleToScale(_ guidance: Double) throws {
    let settings = SamplingSettings(guidance: guidance, topK: 1, topP: 1)
    let run = try Run(.mvar, labels: [2, 3], seeds: [5, 6], settings: settings)
    for scale in run.scales {
      let t = guidance * Double(scale.index) / 3
      let (with, without) = (scale.logits.slice(0, 0..<2), scale.logits.slice(0, 2..<4))
      let likeliest = (with * (1 + t) - without * t).argmax(2)
      #expect(try likeliest.isEqual(to: scale.tokens), "scale \(scale.index)")
    }
  }

  @Test(arguments: Kind.allCases) func strongGuidanceChangesThePicture(_ kind: Kind) throws {
    func tokens(_ guidance: Double) throws -> [[Int64]] {
      let settings = SamplingSettings(guidance: guidance, topK: 1, topP: 1)
      return try Run(kind, labels: [2], seeds: [5], settings: settings).tokens
    }
    #expect(try tokens(0) != tokens(10))
  }

  @Test(arguments: Kind.allCases) func everyImageMayHaveSettingsOfItsOwn(_ kind: Kind) throws {
    let mixed = [
      SamplingSettings(guidance: 2, topK: 40, topP: 0.95), SamplingSettings(guidance: 0, topK: 1),
      SamplingSettings(guidance: 0, topK: 1),
      SamplingSettings(guidance: 4, topK: 0, topP: 0.5, smooth: true),
    ]
    let labels = [3, 1, 2, 0]
    let together = try Run(kind, labels: labels, seeds: [7, 8, 9, 10], each: mixed)
    for (index, settings) in mixed.enumerated() {
      let alone = try Run(
        kind, labels: [labels[index]], seeds: [7 + UInt64(index)], settings: settings)
      #expect(try together.tokens[index] == alone.tokens[0], "image \(index)")
    }
    let otherwise = try Run(kind, labels: labels, seeds: [7, 8, 9, 10], settings: mixed[0])
    #expect(try together.tokens[1] != otherwise.tokens[1])
  }

  /// The tokens that came out, taught as a whole, give the logits that they were drawn from.
  @Test(arguments: Kind.allCases) func theTeacherReadsWhatTheSamplerRead(_ kind: Kind) throws {
    let run = try Run(kind, labels: [4, 0], seeds: [1, 2])
    let model = try RandomModels.transformer(
      RandomModels.configuration(kind, scales: Self.scales))
    let unconditional = model.unconditionalLabel
    try withInferenceMode {
      let pyramid = try TokenPyramid(
        schedule: model.configuration.schedule, scales: run.scales.map(\.tokens))
      let input = RandomModels.tokenizer().quantizer.teacherInput(pyramid).repeated(2, 1, 1)
      let whole = model(
        input, condition: model.condition(.of([4, 0, unconditional, unconditional])))
      let sampled = Tensor.concatenate(run.scales.map(\.logits), axis: 1)
      let tolerance = try tolerance(.float32, roundings: 128, of: whole)
      #expect(try distance(sampled, whole) < tolerance)
    }
  }

  @Test func everyScaleComesOnceAndThenNothing() throws {
    let configuration = try RandomModels.configuration(.var, scales: "1,2x3")
    var sampler = Sampler(
      transformer: try RandomModels.transformer(configuration),
      tokenizer: RandomModels.tokenizer(), labels: [0, 1], seeds: [0, 0],
      settings: [.init(), .init()])
    let scales = [sampler.next(), sampler.next()].compactMap { $0 }
    #expect(scales.map(\.index) == [0, 1])
    #expect(scales.map(\.tokens.shape) == [[2, 1], [2, 6]])
    #expect(scales.map(\.logits.shape) == [[4, 1, 64], [4, 6, 64]])
    #expect(scales.map(\.fHat.shape) == [[2, 8, 2, 3], [2, 8, 2, 3]])
    #expect(sampler.next() == nil && sampler.next() == nil)
  }
}
