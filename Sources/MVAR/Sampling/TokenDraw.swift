import Foundation
import Torch

/// Draws tokens with one stream of random numbers an image, so that an image depends on its own
/// seed alone.
struct TokenDraw {
  private let streams: [DrawingNoise]
  private let device: Device

  init(noise: [DrawingNoise], device: Device) {
    streams = noise
    self.device = device
  }

  init(seeds: [UInt64], device: Device) {
    self.init(noise: seeds.map(DrawingNoise.seed), device: device)
  }

  /// The random numbers that draw the tokens of a scale.
  static func domain(scale: Int) -> UInt64 { domain(.token, scale) }

  private static func domain(_ use: Use, _ scale: Int) -> UInt64 {
    UInt64(scale) << 8 | use.rawValue
  }

  /// The uses of one seed.
  private enum Use: UInt64 {
    case token = 0
    case gumbel = 1
  }

  /// A token for each place, by inverting the distribution function at a uniform number.
  ///
  /// - Parameter logits: `[B, n, V]`; −∞ is never drawn.
  /// - Returns: `[B, n]` int64
  func tokens(_ logits: Tensor, scale: Int) -> Tensor {
    let (B, n, V) = logits.shape3
    // In float64: a sum of 4096 probabilities in float32 is uncertain in its 7th digit.
    let cumulative = logits.softmax().to(.float64).cumulativeSum(-1)
    let total = cumulative.slice(-1, (V - 1)..<V)
    let threshold = uniforms(n, 1, .token, scale).to(.float64) * total
    // Uniform numbers are below 1, so that the threshold stays below the total.
    return cumulative.insertionIndex(of: threshold).reshape(B, n)
  }

  /// Weights of all codes at each place, by Gumbel softmax (`gumbel_softmax_with_rng`).
  ///
  /// - Parameters:
  ///   - images: Whose logits they are; nil for all.
  ///   - temperature: τ
  /// - Returns: `[B, n, V]`, each place's sum 1.
  func mixture(
    _ logits: Tensor, images: Range<Int>? = nil, temperature: Double, scale: Int
  ) -> Tensor {
    let (_, n, V) = logits.shape3
    // Half a step up keeps the logarithms finite.
    let uniforms = uniforms(n, V, .gumbel, scale, images) + 0x1p-24
    let gumbel = -(-uniforms.log()).log()
    return ((logits + gumbel) / temperature).softmax()
  }

  /// `[B, n, m]`
  private func uniforms(
    _ n: Int, _ m: Int, _ use: Use, _ scale: Int, _ images: Range<Int>? = nil
  ) -> Tensor {
    let streams = streams[images ?? streams.indices]
    let numbers = streams.flatMap { $0.uniforms(n * m, domain: Self.domain(use, scale)) }
    return .of(numbers, shape: [streams.count, n, m], device: device)
  }
}
