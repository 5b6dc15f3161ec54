import CUDAKernels
import Testing
import Torch
import TorchTestSupport

@Suite(.serialized, .enabled(if: hasGPU, "needs a GPU"))
struct TokenEmbeddingTests {
  @Test(
    arguments: types, [(1, 1, 64), (3, 4, 192), (2, 25, 1024), (5, 169, 1536), (1, 256, 320)])
  func embedsLikeALinearLayer(_ dtype: DType, _ shape: (B: Int, n: Int, C: Int)) throws {
    let (B, n, C) = shape
    try withTorchErrors {
      let kernels = try CUDAKernels.shared(dtype)
      #expect(kernels.embedsTokens(channels: 32, width: C))
      let input = random(B, n, 32, seed: 1, dtype)
      let (weight, bias) = (random(C, 32, seed: 2, dtype), random(C, seed: 3, dtype))
      // A part of a longer table, as in a model.
      let positions = random(1, n + 7, C, seed: 4, dtype).slice(1, 5..<n + 5)
      let found = kernels.embedTokens(input, weight: weight, bias: bias, positions: positions)
      let one =
        readable(input).linear(readable(weight), readable(bias))
        + readable(positions)
      try expectClose(found, .concatenate([one, one], axis: 0), dtype, roundings: 1)
    }
  }
}
