import Testing
import Torch
import TorchTestSupport

@testable import MVAR

@Suite struct GroupNormTests {
  init() throws { try LibTorch.load() }

  private func norm(_ channels: Int, _ dtype: DType) -> GroupNorm {
    GroupNorm(Parameters(RandomSource(seed: 1), dtype: dtype, device: .cpu), channels)
  }

  @Test(
    arguments: [DType.float32, .bfloat16],
    [[1, 32, 2, 2], [2, 32, 3, 5], [1, 160, 9, 16], [1, 640, 4, 4]])
  func equalsTheReadablePath(_ dtype: DType, shape: [Int]) throws {
    let norm = norm(shape[1], dtype)
    let x = (Tensor.randn(shape, seed: 2) * 2 + 1).to(dtype).channelsLast()
    try withInferenceMode {
      let expected = norm.thenSiLUReference(x)
      let before = x.clone()
      let actual = norm.thenSiLU(x)
      #expect(try x.isEqual(to: before))
      #expect(actual.dtype == dtype && actual.isChannelsLast)
      let roundings = dtype == .float32 ? 16.0 : 2
      let limit = try tolerance(dtype, roundings: roundings, of: expected)
      #expect(try distance(actual, expected) < limit)
      #expect(try norm.thenSiLU(x, overwriting: true).isEqual(to: actual))
    }
  }

  @Test func picturesDoNotDependOnTheirBatch() throws {
    let norm = norm(32, .float32)
    let x = Tensor.randn([3, 32, 9, 9], seed: 2).channelsLast()
    try withInferenceMode {
      let together = norm.thenSiLU(x)
      for b in 0..<3 {
        let isSame = try norm.thenSiLU(x[b..<b + 1]).isEqual(to: together[b..<b + 1])
        #expect(isSame)
      }
    }
  }
}
