import Testing
import Torch
import TorchTestSupport

@testable import CUDAKernels

// M rows of x, K inputs, N outputs.

@Suite(.serialized, .enabled(if: hasGPU, "needs a GPU"))
struct TiledProductTests {
  @Test(
    arguments: types,
    [
      (1, 64, 8), (33, 1024, 3072), (50, 1536, 6320), (64, 512, 200), (72, 1024, 1024),
      (97, 192, 4256), (128, 4096, 1024), (200, 6144, 1536), (224, 256, 96), (225, 1024, 72),
      (338, 768, 4608), (512, 320, 1000),
    ])
  func multipliesLikeLibtorch(_ dtype: DType, _ shape: (M: Int, K: Int, N: Int)) throws {
    let (M, K, N) = shape
    try withTorchErrors {
      let kernels = try CUDAKernels.shared(dtype)
      let x = random(1, M, K, seed: 35, dtype)
      let weight = random(N, K, seed: 36, dtype, scale: 0.05)
      let bias = random(N, seed: 37, dtype)
      let plain = readable(x).linear(readable(weight))
      var tried = 0
      for (ranks, parts) in [(1, 1), (1, 2), (2, 1), (2, 2), (2, 4)] {
        // Only from Hopper on do blocks share a product.
        guard ranks == 1 || kernels.computeCapability >= 90 else { continue }
        guard
          let form = TiledForm(
            rows: M, inputs: K, outputs: N, parts: [parts], ranks: ranks,
            multiprocessors: kernels.multiprocessors)
        else { continue }
        let product = try kernels.tiledProduct(form)
        for bias in [nil, bias] {
          let expected = bias.map { plain + readable($0) } ?? plain
          let found = kernels.multiply(product, x, weight, bias)
          #expect(found.shape == [parts, 1, M, N])
          try expectClose(
            readable(found).sum(0), expected, dtype, roundings: 4, "\(form)")
        }
        if parts == 1 {
          let found = kernels.multiply(product, x, weight, bias, gelu: true).squeeze(0)
          try expectClose(
            found, (plain + readable(bias)).geluTanh(), dtype, roundings: 2, "\(form)")
        }
        tried += 1
      }
      #expect(tried > 0)
    }
  }

  /// Blocks that share a product, and an early start: graphs take both, each and none.
  @Test(arguments: types, [(1, false), (1, true), (2, false), (2, true)])
  func isRecorded(_ dtype: DType, _ way: (ranks: Int, overlaps: Bool)) throws {
    try withTorchErrors {
      let kernels = try CUDAKernels.shared(dtype)
      guard way.ranks == 1 || kernels.computeCapability >= 90 else { return }
      let form = try #require(
        TiledForm(
          rows: 54, inputs: 256, outputs: 256, parts: [1], ranks: way.ranks,
          multiprocessors: kernels.multiprocessors))
      let product = try kernels.tiledProduct(form)
      let x = random(54, 256, seed: 38, dtype)
      let weight = random(256, 256, seed: 39, dtype, scale: 0.05)
      func work() -> Tensor {
        (0..<3).reduce(x.clone()) { x, _ in
          kernels.multiply(product, x, weight, nil, overlaps: way.overlaps).squeeze(0)
        }
      }
      _ = work()
      let (graph, found) = try CUDAGraph.recording(work)
      for seed in 40..<43 {
        x.copyInPlace(from: random(54, 256, seed: UInt64(seed), dtype))
        try graph.replay()
        #expect(try distance(found, work()) == 0)
      }
    }
  }

  /// What weights a kernel asks for ahead changes nothing.
  @Test(arguments: types) func asksForWeightsAhead(_ dtype: DType) throws {
    try withTorchErrors {
      let kernels = try CUDAKernels.shared(dtype)
      let weights = [
        random(1000, 24, seed: 1, dtype), random(1024, 4104, seed: 2, dtype),
      ]
      let qkv = random(2, 25, 3 * 128, seed: 3, dtype)
      let plain = kernels.attention(qkv, scale: .constant(0.1))
      let ahead = kernels.attention(
        qkv, scale: .constant(0.1), ahead: kernels.ahead(weights, rows: 50))
      #expect(try distance(plain, ahead) == 0)
    }
  }
}
