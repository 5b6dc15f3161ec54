import Testing
import Torch
import TorchTestSupport

@testable import MVAR

@Suite struct UpsamplingTests {
  init() throws { try LibTorch.load() }

  @Test(arguments: [DType.float32, .bfloat16], [[1, 1], [3, 5], [8, 2]])
  func mergedTapsEqualThePlainConvolution(_ dtype: DType, size: [Int]) throws {
    let parameters = Parameters(RandomSource(seed: 1), dtype: dtype, device: .cpu)
    let upsampling = Upsampling(parameters, 32)
    let x = Tensor.randn([2, 32] + size, seed: 2).to(dtype).channelsLast()
    try withInferenceMode {
      let expected = upsampling.reference(x)
      let actual = upsampling(x)
      #expect(actual.shape == [2, 32, 2 * size[0], 2 * size[1]])
      #expect(actual.dtype == dtype)
      // Merged taps are rounded once more; sums of 288 products grow like the square root.
      let tolerance = try tolerance(dtype, roundings: dtype == .float32 ? 16 : 2, of: expected)
      #expect(try distance(actual, expected) < tolerance)
    }
  }
}
