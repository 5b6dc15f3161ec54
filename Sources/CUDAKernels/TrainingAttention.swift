import Torch

extension TrainingKernels {
  /// Makes queries and keys unit vectors, in place, and multiplies queries by their head's scale.
  ///
  /// - Parameters:
  ///   - qkv: `[R, n, 3·C]`.
  ///   - scales: float32 `[H]`.
  /// - Returns: What they were divided by, float32 `[T, 2, H]`.
  public func makeUnitHeadsInPlace(_ qkv: Tensor, scales: Tensor) -> Tensor {
    let (R, n, width) = qkv.shape3
    let H = width / 192
    let lengths = sums([R * n, 2, H], qkv)
    launch(
      "unit_heads", grid: ((R * n + 31) / 32, H, 1), threads: 256,
      [.tensor(qkv), .tensor(scales), .tensor(lengths), .int(R * n), .int(H)])
    return lengths
  }

  /// The gradient of qkv `[R, n, 3·C]` from those of q, k and v, `[T, H, 64]` each; its sum over tokens, `[3·C]`; and that
  /// of the scales.
  ///
  /// - Parameters:
  ///   - qkv: As ``makeUnitHeadsInPlace(_:scales:)`` left it.
  ///   - unit: The scales, and what that returned; nil where it was not called.
  public func qkvGradient(
    _ dq: Tensor, _ dk: Tensor, _ dv: Tensor, qkv: Tensor, unit: (scales: Tensor, lengths: Tensor)?
  ) -> (qkv: Tensor, sum: Tensor, scales: Tensor?) {
    let (R, n, width) = qkv.shape3
    let H = width / 192
    let blocks = (R * n + 255) / 256
    let out = empty(qkv.shape, qkv)
    let parts = sums([blocks, width], qkv)
    let partial = unit.map { _ in sums([blocks, H], qkv) }
    launch(
      "unit_heads_backward", grid: (blocks, H, 1), threads: 256,
      [
        .tensor(qkv), .tensor(dq), .tensor(dk), .tensor(dv), .optional(unit?.scales),
        .optional(unit?.lengths), .tensor(out), .tensor(parts), .optional(partial), .int(R * n),
        .int(H),
      ])
    return (out, parts.sum(0).to(dtype), partial?.sum(0))
  }
}
