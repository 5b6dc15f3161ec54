import Foundation
import Testing
import Torch

@testable import MVAR

/// Which tokens the filter lets through.
@Suite struct LogitFilterTests {
  init() throws { try LibTorch.load() }

  /// Logits of 0.4, 0.3, 0.15, 0.1, 0.05, not in order.
  private let probabilities: [Float] = [0.15, 0.4, 0.05, 0.3, 0.1]

  private func allowed(topK: Int, topP: Double) throws -> [Int] {
    let logits = Tensor.of(probabilities.map { Foundation.log($0) }, shape: [1, 1, 5])
    let filtered = try LogitFilter(topK: topK, topP: topP)(logits).elements(as: Float.self)
    for (index, logit) in filtered.enumerated() where logit > -.infinity {
      #expect(logit == Foundation.log(probabilities[index]))
    }
    return filtered.indices.filter { filtered[$0] > -.infinity }
  }

  @Test(arguments: [
    (0, 1, [0, 1, 2, 3, 4]), (5, 1, [0, 1, 2, 3, 4]), (9, 1, [0, 1, 2, 3, 4]), (1, 1, [1]),
    (2, 1, [1, 3]), (3, 1, [0, 1, 3]),
    (0, .leastNonzeroMagnitude, [1]), (0, 0.001, [1]), (0, 0.6, [1, 3]),
    (0, 0.72, [0, 1, 3]), (0, 0.999, [0, 1, 2, 3, 4]),
    // First by rank: of 0.4 and 0.3 alone, 0.55 is the first one's share and more.
    (2, 0.55, [1]), (2, 0.6, [1, 3]),
  ])
  func lets(topK: Int, topP: Double, through expected: [Int]) throws {
    #expect(try allowed(topK: topK, topP: topP) == expected)
  }

  @Test func tiesWithTheLastRankStay() throws {
    let logits = Tensor.of([1, 0, 1, 2] as [Float], shape: [1, 1, 4])
    let filtered = try LogitFilter(topK: 2, topP: 1)(logits).elements(as: Float.self)
    #expect(filtered == [1, -.infinity, 1, 2])
  }
}
