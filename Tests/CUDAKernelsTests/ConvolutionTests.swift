import Testing
import Torch
import TorchTestSupport

@testable import CUDAKernels
@testable import MVAR

// The decoder's convolutions against the readable path in float32, with tiles of both heights.

@Suite(.serialized, .enabled(if: hasGPU, "needs a GPU"))
struct ConvolutionTests {
  private struct Case: Sendable {
    let pictures, inputs, outputs, height, width: Int
    let isNormalized, isAdded: Bool

    init(
      _ pictures: Int, from inputs: Int, to outputs: Int, _ height: Int, _ width: Int,
      isNormalized: Bool = true, isAdded: Bool = true
    ) {
      (self.pictures, self.inputs, self.outputs) = (pictures, inputs, outputs)
      (self.height, self.width) = (height, width)
      (self.isNormalized, self.isAdded) = (isNormalized, isAdded)
    }
  }

  private static let cases = [
    Case(1, from: 32, to: 160, 16, 16, isNormalized: false, isAdded: false),
    Case(2, from: 160, to: 160, 32, 16),
    Case(3, from: 320, to: 160, 16, 48, isAdded: false),
    Case(1, from: 640, to: 160, 32, 16),
    Case(1, from: 160, to: 320, 16, 80, isAdded: false),
    Case(40, from: 640, to: 640, 16, 16),
    Case(0, from: 160, to: 320, 16, 16),
  ]

  @Test(arguments: types, cases) private func convolves(_ dtype: DType, _ shape: Case) throws {
    try withTorchErrors {
      let kernels = try CUDAKernels.shared(dtype)
      let (B, C, O) = (shape.pictures, shape.inputs, shape.outputs)
      let (H, W) = (shape.height, shape.width)
      let x = random(B, C, H, W, seed: 1, dtype).channelsLast()
      let (gain, shift) = (random(C, seed: 2, dtype), random(C, seed: 3, dtype))
      let weight = random(O, C, 3, 3, seed: 4, dtype, scale: 0.05)
      let bias = random(O, seed: 5, dtype)
      let added =
        shape.isAdded ? random(B, O, H, W, seed: 6, dtype).channelsLast() : nil
      let weights = try #require(ConvolutionWeights(weight, bias: bias))
      let norm =
        shape.isNormalized
        ? ConvolutionNorm.factors(kernels.factors(kernels.summedUp(x), weight: gain, shift: shift))
        : nil
      guard !kernels.convolutions.isEmpty else { return }
      func convolved(_ form: ConvolutionForm, parts: Int = 1, _ other: ConvolutionNorm? = nil)
        -> NormInput
      {
        kernels.convolved(
          x, channels: C, other ?? norm, weights, adding: added,
          ConvolutionPlan(form, parts: parts))
      }
      let found = convolved(.of16Rows)
      let inParts = [1, 3].filter { $0 <= C / 32 }.map { convolved(.inParts, parts: $0) }
      let low = convolved(.of8Rows)
      guard B > 0 else { return }
      let input =
        shape.isNormalized
        ? readable(
          kernels.groupNormSiLU(kernels.summedUp(x), weight: gain, shift: shift)) : readable(x)
      let product = input.conv2d(readable(weight), readable(bias), padding: 1)
      let expected = added.map { readable($0) + product } ?? product
      for one in [found] + inParts {
        try expectClose(one.x, expected, dtype, roundings: 2)
        try expectSums(one, dtype)
      }
      try expectEqual(found, low)
      // A picture does not depend on who makes its factors, which depends on the batch too.
      let summed = kernels.summedUp(x)
      if shape.isNormalized, ConvolutionPlan(.of8Rows).makesFactors(summed) {
        let sums = ConvolutionNorm.ofSums(summed.sums, weight: gain, shift: shift)
        try expectEqual(convolved(.of8Rows, parts: 1, sums), low)
        try expectEqual(convolved(.inParts, parts: 1, sums), inParts[0])
      }
    }
  }

  @Test(arguments: types, [(1, 160, 16, 16), (2, 320, 16, 32), (20, 160, 32, 16)])
  func doubles(_ dtype: DType, _ shape: (Int, Int, Int, Int)) throws {
    let (B, C, H, W) = shape
    try withTorchErrors {
      let kernels = try CUDAKernels.shared(dtype)
      let upsampling = Upsampling(
        Parameters(RandomSource(seed: 7), dtype: dtype, device: gpu), C)
      let x = random(B, C, H, W, seed: 8, dtype).channelsLast()
      let weights = try #require(
        ConvolutionWeights(upsampling.merged, bias: upsampling.plain.bias))
      guard !kernels.convolutions.isEmpty else { return }
      func doubled(_ form: ConvolutionForm, parts: Int = 1) -> NormInput {
        kernels.upsampled(x, weights, ConvolutionPlan(form, parts: parts))
      }
      let found = doubled(.of16Rows)
      let (weight, bias) = (upsampling.plain.weight, upsampling.plain.bias)
      let expected = readable(x).resizedNearest(2 * H, 2 * W)
        .conv2d(readable(weight), readable(bias), padding: 1)
      for one in [found, doubled(.inParts), doubled(.inParts, parts: 4)] {
        try expectClose(one.x, expected, dtype)
        try expectSums(one, dtype)
      }
      try expectEqual(found, doubled(.of8Rows))
    }
  }

  /// A picture does not depend on how high tiles are, which depends on the batch.
  private func expectEqual(_ one: NormInput, _ other: NormInput) throws {
    #expect(try distance(readable(other.x), readable(one.x)) == 0)
    #expect(try distance(readable(other.sums), readable(one.sums)) == 0)
  }

  private func expectSums(_ found: NormInput, _ dtype: DType) throws {
    let (B, C, H, W) = found.x.shape4
    let groups = readable(found.x).reshape(B, 32, C / 32 * H * W)
    let sums = readable(found.sums).sum(1)
    try expectClose(sums.select(2, 0), groups.sum(2), dtype, roundings: 1)
    try expectClose(sums.select(2, 1), (groups * groups).sum(2), dtype, roundings: 1)
  }
}
