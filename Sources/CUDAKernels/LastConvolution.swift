import Torch

/// The weights of a convolution of 3 × 3 to three colours, as the kernel reads them.
public struct LastConvolutionWeights {
  let taps: Tensor  // [9, 8, C]
  let bias: Tensor  // [3]

  /// - Parameters:
  ///   - weight: `[3, C, 3, 3]`.
  ///   - bias: `[3]`.
  public init(weight: Tensor, bias: Tensor) {
    let (colours, C, _, _) = weight.shape4
    let padded = Tensor.concatenate(
      [weight, .zeros([8 - colours, C, 3, 3], dtype: weight.dtype, device: weight.device)], axis: 0)
    taps = padded.permute(2, 3, 0, 1).contiguous()
    self.bias = bias
  }
}

extension CUDAKernels {
  private static func lastConvolutionBytes(_ C: Int) -> Int { (10 * 18 + 72) * (C + 8) * 2 }

  /// Whether ``lastConvolution(_:_:weight:shift:)`` can work on so many channels.
  public func canEndDecoder(channels C: Int) -> Bool {
    C % 16 == 0 && C <= 2048 && Self.lastConvolutionBytes(C) <= largestSharedMemory
  }

  /// The convolution to three colours of SiLU(group norm(x)), cut to [−1, 1]: float32 `[B, 3, H, W]`.
  ///
  /// - Parameter input: all of whose channels count, with no bias to be added.
  public func lastConvolution(
    _ input: NormInput, _ weights: LastConvolutionWeights, weight: Tensor, shift: Tensor
  ) throws -> Tensor {
    let (B, C, H, W) = input.x.shape4
    let factors = factors(input, weight: weight, shift: shift)
    let image = Tensor.empty([B, 3, H, W], device: input.x.device)
    try kernel("last_convolution", sharedBytes: Self.lastConvolutionBytes(C))(
      grid: ((W + 15) / 16, (H + 7) / 8, B), threads: 256, overlaps: true,
      [
        .tensor(input.x), .tensor(factors), .tensor(weights.taps), .tensor(weights.bias),
        .tensor(image), .int(H), .int(W), .int(C),
      ])
    return image
  }
}
