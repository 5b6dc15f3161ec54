import Testing
import Torch
import TorchTestSupport

@testable import MVAR

@Suite struct WinogradTests {
  init() throws { try LibTorch.load() }

  private func convolution(_ inputs: Int, _ outputs: Int, _ dtype: DType = .float32)
    -> Convolution
  {
    Convolution(
      Parameters(RandomSource(seed: 1), dtype: dtype, device: .cpu), inputs, outputs,
      winograd: true)
  }

  @Test(arguments: [[1, 1], [3, 5], [4, 8], [17, 30]], [[8, 16], [24, 48]])
  func equalsThePlainConvolution(size: [Int], channels: [Int]) throws {
    let convolution = convolution(channels[0], channels[1])
    let x = Tensor.randn([2, channels[0]] + size, seed: 2).channelsLast()
    let added = Tensor.randn([2, channels[1]] + size, seed: 3).channelsLast()
    try withInferenceMode {
      for other in [nil, added] {
        let expected = convolution.reference(x, adding: other)
        let actual = convolution(x, adding: other)
        #expect(actual.isChannelsLast)
        // The transforms multiply by up to 8 and subtract again.
        let limit = try tolerance(.float32, roundings: 256, of: expected)
        #expect(try distance(actual, expected) < limit)
      }
    }
  }

  @Test func picturesDoNotDependOnTheirBatch() throws {
    let convolution = convolution(16, 32)
    let x = Tensor.randn([3, 16, 9, 14], seed: 2).channelsLast()
    try withInferenceMode {
      let together = convolution(x)
      for b in 0..<3 {
        let isSame = try convolution(x[b..<b + 1]).isEqual(to: together[b..<b + 1])
        #expect(isSame)
      }
    }
  }

  @Test func otherTypesAndLayoutsTakeThePlainConvolution() throws {
    let plain = Tensor.randn([1, 16, 6, 6], seed: 2)
    try withInferenceMode {
      let convolution = convolution(16, 16)
      let isPlain = try convolution(plain).isEqual(to: convolution.reference(plain))
      #expect(isPlain)
      let half = self.convolution(16, 16, .bfloat16)
      let x = plain.to(.bfloat16).channelsLast()
      let isHalfPlain = try half(x).isEqual(to: half.reference(x))
      #expect(isHalfPlain)
    }
  }
}
