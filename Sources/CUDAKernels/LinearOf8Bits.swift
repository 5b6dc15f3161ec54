import Torch

/// Rows in 8 bits (e4m3), each with a scale that makes use of all of them.
public struct RowsOf8Bits {
  /// uint8 `[…, K]`, the bits.
  let values: Tensor
  /// float32 `[rows, 1]`: what a row is to be multiplied by.
  let scales: Tensor

  init(values: Tensor, scales: Tensor) { (self.values, self.scales) = (values, scales) }

  /// A weight `[N, K]`, on any device.
  public init(_ weight: Tensor) { (values, scales) = weight.quantizedRows() }
}

extension CUDAKernels {
  /// Whether this GPU multiplies 8-bit numbers with a scale a row, which Hopper was the first to do.
  public var multiplies8Bits: Bool { computeCapability >= 90 && dtype == .bfloat16 }

  /// x · weightᵀ + bias, of numbers in 8 bits: `[…, N]` in ``dtype``.
  public func linear(_ x: RowsOf8Bits, _ weight: RowsOf8Bits, _ bias: Tensor?) -> Tensor {
    x.values.scaledLinear(
      scales: x.scales, weight.values, weightScales: weight.scales, bias, dtype: dtype)
  }

  /// GELU (tanh form) of `[…, N]`, to 8 bits.
  public func geluTo8(_ x: Tensor) -> RowsOf8Bits {
    let N = x.length(-1)
    let rows = x.count / max(N, 1)
    precondition(N % 8 == 0 && N <= 32 * 1024)
    let out = RowsOf8Bits(
      values: .empty(x.shape, dtype: .uint8, device: x.device),
      scales: .empty([rows, 1], device: x.device))
    geluTo8(
      grid: (rows, 1, 1), threads: max(1, (N + 1023) / 1024) * 32, overlaps: true,
      [.tensor(x), .tensor(out.values), .tensor(out.scales), .int(N)])
    return out
  }
}
