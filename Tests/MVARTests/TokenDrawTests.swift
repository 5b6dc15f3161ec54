import Foundation
import Testing
import Torch
import TorchTestSupport

@testable import MVAR

/// How often tokens are drawn.
@Suite struct TokenDrawTests {
  init() throws { try LibTorch.load() }

  private let places = 4096

  /// The same logits at every place, `[1, n, V]`.
  private func logits(_ probabilities: [Double]) -> Tensor {
    Tensor.of(probabilities.map { Float(log($0)) }, shape: [1, 1, probabilities.count])
      .expand(1, places, probabilities.count)
  }

  @Test(arguments: [0, 5]) func tokensFollowTheirProbabilities(scale: Int) throws {
    let probabilities = [0.5, 0, 0.25, 0.2, 0.05, 0]
    let draw = TokenDraw(seeds: [3], device: .cpu)
    let tokens = try draw.tokens(logits(probabilities), scale: scale).elements(as: Int.self)
    for (token, probability) in probabilities.enumerated() {
      let count = Double(tokens.count { $0 == token })
      // Five standard deviations of a binomial distribution.
      let deviation = (Double(places) * probability * (1 - probability)).squareRoot()
      #expect(abs(count - Double(places) * probability) <= 5 * deviation, "token \(token)")
    }
  }

  @Test func aCertainTokenIsAlwaysDrawn() throws {
    for probabilities in [[1, 0, 0], [0, 1, 0], [0, 0, 1.0]] {
      let tokens = TokenDraw(seeds: [1], device: .cpu).tokens(logits(probabilities), scale: 0)
      let expected = probabilities.firstIndex(of: 1)!
      #expect(try tokens.elements(as: Int.self).allSatisfy { $0 == expected })
    }
  }

  @Test func scalesHaveNumbersOfTheirOwn() throws {
    let draw = TokenDraw(seeds: [3], device: .cpu)
    let logits = logits(Array(repeating: 0.125, count: 8))
    let first = draw.tokens(logits, scale: 0)
    #expect(try !draw.tokens(logits, scale: 1).isEqual(to: first))
  }

  @Test func mixturesAreWeightsThatSharpen() throws {
    let draw = TokenDraw(seeds: [3, 4], device: .cpu)
    let logits = Tensor.randn([2, 50, 16], seed: 1)
    let soft = draw.mixture(logits, temperature: 1, scale: 0)
    let hard = draw.mixture(logits, temperature: 0.005, scale: 0)
    for weights in [soft, hard] {
      #expect(try distance(weights.sum(-1), .ones([2, 50])) < 16 * 0x1p-23)
      #expect(try weights.reshape(-1).min(0).item() >= 0)
    }
    #expect(try soft.argmax(-1).isEqual(to: hard.argmax(-1)))
    let sharpness = { (weights: Tensor) in try weights.max(-1).mean(0, 1).item() }
    #expect(try sharpness(hard) > 0.95)
    #expect(try sharpness(soft) < 0.8)
  }
}
