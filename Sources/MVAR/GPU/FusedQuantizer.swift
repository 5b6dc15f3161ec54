import CUDAKernels
import Torch

/// Puts a scale's tokens into f̂ and reads the next scale's input off it, as ``Quantizer`` does in many steps.
struct FusedQuantizer {
  private let kernels: CUDAKernels
  private let weights: [TokenMapWeights]
  private let schedule: ScaleSchedule

  /// Nil where f̂ is too large for one kernel.
  init?(_ quantizer: Quantizer, _ schedule: ScaleSchedule, _ kernels: CUDAKernels) {
    let (channels, size) = (quantizer.codebook.length(1), schedule.final)
    let tokens = schedule.sizes.map(\.count).max()!
    guard
      kernels.holdsTokenMap(
        channels: channels, height: size.height, width: size.width, tokens: tokens)
    else { return nil }
    (self.kernels, self.schedule) = (kernels, schedule)
    let codebook = quantizer.codebook.contiguous()
    weights = schedule.sizes.indices.map { k in
      let phi = quantizer.phi.convolution(scale: k, of: schedule.count)
      return TokenMapWeights(
        codebook: codebook, weight: phi.weight.contiguous(), bias: phi.bias.contiguous())
    }
  }

  /// - Parameters:
  ///   - tokens: int64 `[B, n_k]`.
  ///   - fHat: float32 `[B, Cvae, h, w]`, changed in place.
  /// - Returns: what the transformer reads at scale k + 1, `[B, n, Cvae]`; nil after the last.
  func add(_ tokens: Tensor, scale k: Int, to fHat: Tensor) throws -> Tensor? {
    let size = schedule.sizes[k]
    let next = k + 1 < schedule.count ? schedule.sizes[k + 1] : nil
    return try kernels.addTokenMap(
      tokens, weights[k], to: fHat, isFirst: k == 0, size: (size.height, size.width),
      next: next.map { ($0.height, $0.width) })
  }
}
