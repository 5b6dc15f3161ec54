import Foundation
import Testing
import Torch

@testable import MVAR

/// Between two seeds the numbers stay uniform and change little by little.
@Suite struct DrawingNoiseTests {
  private static let count = 4096

  private func uniforms(_ position: Double, domain: UInt64 = 3) -> [Float] {
    DrawingNoise.between(7, 8, position: position).uniforms(Self.count, domain: domain)
  }

  @Test(arguments: [0, 1, 1 << 8, 9 << 8] as [UInt64]) func endsAreTheSeedsOwnToTheBit(
    _ domain: UInt64
  ) {
    for (position, seed) in [(0.0, 7 as UInt64), (1, 8)] {
      let own = PhiloxStream(seed: seed).uniforms(Self.count, domain: domain)
      #expect(uniforms(position, domain: domain) == own)
      #expect(DrawingNoise.seed(seed).uniforms(Self.count, domain: domain) == own)
    }
  }

  /// Kolmogorov and Smirnov's distance, at a level of 0.1 %: 1.95 / √n.
  @Test(arguments: [0.1, 0.25, 0.5, 0.75, 0.99]) func numbersBetweenAreUniform(_ position: Double) {
    let sorted = uniforms(position).sorted().map(Double.init)
    let n = Double(sorted.count)
    let distance = sorted.enumerated().map { i, u in
      max(abs(u - Double(i) / n), abs(Double(i + 1) / n - u))
    }.max()!
    #expect(distance < 1.95 / n.squareRoot())
    #expect(sorted[0] >= 0 && sorted.last! < 1)
    #expect(sorted.allSatisfy { ($0 * 0x1p23).rounded() == $0 * 0x1p23 })
  }

  @Test func numbersMoveWithThePosition() {
    func change(_ a: Double, _ b: Double) -> Float {
      zip(uniforms(a), uniforms(b)).map { abs($0 - $1) }.reduce(0, +) / Float(Self.count)
    }
    let steps = [0.001, 0.01, 0.1, 0.5, 1].map { change(0, $0) }
    #expect(zip(steps, steps.dropFirst()).allSatisfy { $0 < $1 })
    #expect(steps[0] < 0.002)
    // Two independent uniform numbers are 1/3 apart.
    #expect(abs(steps[4] - 1.0 / 3) < 0.02)
  }

  @Test func theEndsDifferFromStreamToStream() {
    #expect(uniforms(0.5, domain: 1) != uniforms(0.5, domain: 2))
  }

  /// Φ of Φ⁻¹, from the smallest step to the largest.
  @Test(arguments: [
    0x1p-24, 1e-6, 0.001, 0.02425, 0.1, 0.3, 0.5, 0.7, 0.975, 0.999, 1 - 0x1p-24,
  ]) func quantilesInvertTheDistribution(_ p: Double) {
    let z = NormalDistribution.quantile(p)
    #expect(abs(NormalDistribution.cumulative(z) - p) < 1e-14 * max(p, 0.01))
    #expect(abs(NormalDistribution.quantile(1 - p) + z) < 1e-9)
  }

  /// Values of Φ⁻¹ from tables.
  @Test(arguments: [(0.975, 1.959963984540054), (0.995, 2.5758293035489004), (0.5, 0)])
  func knownQuantiles(_ p: Double, _ z: Double) {
    #expect(abs(NormalDistribution.quantile(p) - z) < 1e-12)
  }
}
