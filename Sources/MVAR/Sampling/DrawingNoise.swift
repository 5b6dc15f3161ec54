import Foundation
import Torch

/// Where the random numbers of one image come from.
///
/// Tokens are drawn by inverting a distribution function at uniform numbers u, one a place. A picture
/// between two seeds turns one seed's numbers into the other's: both become normal ones, z = Φ⁻¹(u),
/// which are rotated into each other, z = z₀ cos θ + z₁ sin θ with θ = position · π/2, and become
/// uniform again, u = Φ(z). As cos² + sin² = 1, the numbers at every position are exactly as random as
/// a seed's own: each picture on the way is one that the model would draw, not a mixture of two.
public enum DrawingNoise: Sendable, Hashable {
  case seed(UInt64)
  /// Position 0 is the first seed's numbers to the bit, 1 the second's.
  case between(UInt64, UInt64, position: Double)

  /// `count` numbers in [0, 1) from the start of a domain, as ``PhiloxStream/uniforms(_:domain:)``.
  func uniforms(_ count: Int, domain: UInt64) -> [Float] {
    switch self {
    case .seed(let seed):
      return PhiloxStream(seed: seed).uniforms(count, domain: domain)
    case .between(let first, let second, let position):
      let angle = position * .pi / 2
      // cos(π/2) is not quite 0.
      let (c, s) = position == 1 ? (0, 1) : (cos(angle), sin(angle))
      let pairs = zip(
        PhiloxStream(seed: first).uniforms(count, domain: domain),
        PhiloxStream(seed: second).uniforms(count, domain: domain))
      return pairs.map { Self.uniform(c * Self.normal($0) + s * Self.normal($1)) }
    }
  }

  /// Φ⁻¹ of the middle of the step that a uniform number stands for.
  private static func normal(_ uniform: Float) -> Double {
    NormalDistribution.quantile(Double(uniform) + 0x1p-24)
  }

  /// The step of 2⁻²³ that Φ(z) lies in; where z came from one step's middle, that step itself.
  private static func uniform(_ z: Double) -> Float {
    let steps = (NormalDistribution.cumulative(z) * 0x1p23).rounded(.down)
    return Float(min(steps, 0x1p23 - 1)) * 0x1p-23
  }
}
