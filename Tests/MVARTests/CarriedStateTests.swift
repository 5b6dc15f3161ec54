import Testing
import Torch
import TorchTestSupport

@testable import MVAR

/// Scale by scale with carried state equals the whole pyramid at once.
@Suite struct CarriedStateTests {
  init() throws { try LibTorch.load() }

  struct Variant: Sendable, CustomTestStringConvertible {
    let kind: TransformerConfiguration.Kind
    let norm: TransformerConfiguration.AttentionNorm
    let sharedAdaLN: Bool

    static let all = TransformerConfiguration.Kind.allCases.flatMap { kind in
      [TransformerConfiguration.AttentionNorm.l2, .scaled].flatMap { norm in
        [false, true].map { Variant(kind: kind, norm: norm, sharedAdaLN: $0) }
      }
    }

    var testDescription: String {
      "\(kind.rawValue), \(norm), \(sharedAdaLN ? "shared" : "own") adaLN"
    }
  }

  /// A model, and random input for all of its scales.
  private struct Case {
    let model: Transformer
    let input: Tensor  // [B, L − n_0, Cvae]
    let condition: Transformer.Condition

    init(_ variant: Variant, _ scales: String, dtype: DType = .float32) throws {
      let configuration = try RandomModels.configuration(
        variant.kind, scales: scales, norm: variant.norm, sharedAdaLN: variant.sharedAdaLN)
      model = try RandomModels.transformer(configuration, dtype: dtype)
      let schedule = configuration.schedule
      let rest = schedule.tokenCount - schedule.sizes[0].count
      input = Tensor.randn([3, rest, configuration.codeChannels], seed: 5)
      condition = model.condition(.of([0, 3, model.unconditionalLabel]))
    }

    /// Logits of all scales, with a state that `between` may change after each.
    func stepwise(between: (inout Transformer.State) -> Void = { _ in }) -> Tensor {
      let ranges = model.configuration.schedule.ranges
      let first = ranges[0].count
      var state = model.initialState()
      return .concatenate(
        ranges.enumerated().map { k, range in
          let places = range.lowerBound - first..<range.upperBound - first
          let logits = model.step(
            k == 0 ? nil : input.slice(1, places), condition: condition, state: &state)
          between(&state)
          return logits
        }, axis: 1)
    }
  }

  @Test(
    arguments: Variant.all, ["1,2,3", "1,1,2", "2,3,5", "1x1,2x3,4x6", "2x1,1x2", "1", "3x2"])
  func stepsEqualTheWhole(_ variant: Variant, scales: String) throws {
    try withInferenceMode {
      let example = try Case(variant, scales)
      let whole = example.model(example.input, condition: example.condition)
      let tolerance = try tolerance(.float32, roundings: 128, of: whole)
      #expect(try distance(example.stepwise(), whole) < tolerance)
    }
  }

  @Test(arguments: Variant.all) func stepsEqualTheWholeInBFloat16(_ variant: Variant) throws {
    try withInferenceMode {
      let example = try Case(variant, "1,2,4", dtype: .bfloat16)
      let whole = example.model(example.input, condition: example.condition)
      let tolerance = try tolerance(.bfloat16, roundings: 8, of: whole)
      #expect(try distance(example.stepwise(), whole) < tolerance)
    }
  }

  /// Otherwise the tests above would pass for a model that looks at one scale only.
  @Test(arguments: Variant.all) func theStateMatters(_ variant: Variant) throws {
    try withInferenceMode {
      let example = try Case(variant, "1,2,3")
      let whole = example.model(example.input, condition: example.condition)
      let forgetful = example.stepwise { state in
        state.blocks = example.model.initialState().blocks
      }
      let tolerance = try tolerance(.float32, roundings: 128, of: whole)
      #expect(try distance(forgetful.slice(1, 0..<1), whole.slice(1, 0..<1)) < tolerance)
      #expect(try distance(forgetful.slice(1, 1...), whole.slice(1, 1...)) > 100 * tolerance)
    }
  }

  /// What a finer scale reads cannot change the logits of a coarser one.
  @Test(arguments: Variant.all) func coarserScalesDoNotSeeFinerOnes(_ variant: Variant) throws {
    try withInferenceMode {
      let example = try Case(variant, "1,2,3")
      let whole = example.model(example.input, condition: example.condition)
      let other = example.input.clone()
      other.slice(1, 4...).fillInPlace(1)
      let changed = example.model(other, condition: example.condition)
      let tolerance = try tolerance(.float32, roundings: 128, of: whole)
      #expect(try distance(whole.slice(1, 0..<5), changed.slice(1, 0..<5)) < tolerance)
      #expect(try distance(whole.slice(1, 5...), changed.slice(1, 5...)) > 100 * tolerance)
    }
  }
}
