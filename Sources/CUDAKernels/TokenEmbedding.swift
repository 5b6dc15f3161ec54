import Torch

extension CUDAKernels {
  /// Whether ``embedTokens(_:weight:bias:positions:)`` knows these sizes.
  public func embedsTokens(channels: Int, width: Int) -> Bool { channels == 32 && width % 32 == 0 }

  /// The residual stream at the beginning of a scale, with guidance: the same for both halves of the sequences.
  ///
  /// - Parameters:
  ///   - input: the token map `[B, n, 32]`.
  ///   - weight: `[C, 32]`.
  ///   - bias: `[C]`.
  ///   - positions: `[1, n, C]`, contiguous.
  /// - Returns: `[2·B, n, C]`.
  public func embedTokens(
    _ input: Tensor, weight: Tensor, bias: Tensor, positions: Tensor
  ) -> Tensor {
    let (B, n, channels) = input.shape3
    let C = weight.length(0)
    precondition(embedsTokens(channels: channels, width: C))
    let x = Tensor.empty([2 * B, n, C], dtype: dtype, device: input.device)
    // It begins a scale, and overlaps with nothing before it: later kernels read states before they wait for anything.
    embedTokens(
      grid: ((C + 255) / 256, (B * n + 15) / 16, 1), threads: 256,
      [
        .tensor(input), .tensor(weight), .tensor(bias), .tensor(positions), .tensor(x),
        .int(B * n), .int(n), .int(C),
      ])
    return x
  }
}
