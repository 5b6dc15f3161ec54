import MVAR
import Torch

/// The random numbers of one step: which pictures lose their class, and which sublayers are left out.
///
/// A function of the seed, the step and a picture's place in the whole batch. So a resumed run draws
/// what it would have drawn, and micro-batches and processes draw together what one alone would.
struct StepRandomness {
  private let stream: PhiloxStream
  private let step: Int
  private let batch: Int

  /// - Parameter batch: Pictures of the step, over all micro-batches and processes.
  init(seed: UInt64, step: Int, batch: Int) {
    stream = PhiloxStream(seed: seed)
    (self.step, self.batch) = (step, batch)
  }

  private enum Purpose: UInt64 { case labels, depth }

  private func uniforms(_ count: Int, _ purpose: Purpose) -> [Float] {
    stream.uniforms(count, domain: 1 << 62 | UInt64(step) << 1 | purpose.rawValue)
  }

  /// The labels of some of the batch's pictures, with `unconditional` for a share of them.
  func dropping(
    _ labels: [Int], at pictures: Range<Int>, share: Double, unconditional: Int
  ) -> [Int] {
    guard share > 0 else { return labels }
    let draws = uniforms(batch, .labels)[pictures]
    return zip(labels, draws).map { Double($1) < share ? unconditional : $0 }
  }

  /// What each sublayer's addition is scaled by, `[depth, n, B]` for some of the batch's pictures: 0
  /// for a share that grows linearly from 0 in the first block to `rate` in the last, and such that
  /// the expectation is 1. Nil where all are 1.
  func depthFactors(
    at pictures: Range<Int>, rate: Double, depth: Int, sublayers: Int, device: Device
  ) -> Tensor? {
    guard rate > 0, depth > 1 else { return nil }
    let draws = uniforms(depth * sublayers * batch, .depth)
    var factors: [Float] = []
    factors.reserveCapacity(depth * sublayers * pictures.count)
    for row in 0..<depth * sublayers {
      let kept = 1 - rate * Double(row / sublayers) / Double(depth - 1)
      for picture in pictures {
        factors.append(Double(draws[row * batch + picture]) < kept ? Float(1 / kept) : 0)
      }
    }
    return Tensor.of(factors, shape: [depth, sublayers, pictures.count]).uploaded(to: device)
  }
}
