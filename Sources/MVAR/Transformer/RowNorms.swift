import CPUKernels
import StateSpace
import Torch

// B rows (images, twice with guidance), L tokens, C width, H heads, P head size.

extension Tensor {
  /// LN(self)(1 + s) + b of `[B, L, C]`, where `onePlusScale` and `shift` are `[B, 1, C]`; in one pass on a CPU.
  func modulatedNorm(onePlusScale: Tensor, shift: Tensor) -> Tensor {
    let (B, L, C) = shape3
    guard [self, onePlusScale, shift].allSatisfy(\.suitsCPUKernels), C % 8 == 0,
      dtype == shift.dtype, dtype == onePlusScale.dtype, onePlusScale.shape == [B, 1, C],
      shift.shape == [B, 1, C]
    else { return modulatedNormReference(onePlusScale: onePlusScale, shift: shift) }
    let result = Tensor.empty([B, L, C], dtype: dtype)
    let norm = ModulatedNorm(
      tokens: L, width: C, epsilon: 1e-6, input: rows, onePlusScale: onePlusScale.rows,
      shift: shift.rows, output: result.rows)
    let type = kernelType
    inParallel(B * L, grain: 8) { norm.run($0, type) }
    return withExtendedLifetime((self, onePlusScale, shift)) { result }
  }

  /// ``modulatedNorm(onePlusScale:shift:)`` as the paper has it.
  func modulatedNormReference(onePlusScale: Tensor, shift: Tensor) -> Tensor {
    shift.adding(layerNorm(epsilon: 1e-6), times: onePlusScale)
  }

  /// Makes the queries and keys in `self [B, L, 3 H P]` unit vectors and multiplies the queries by `scales [H]`.
  ///
  /// - Returns: Whether that was done; where kernels for CPUs do not fit, nothing was.
  func normalizeQueriesAndKeysInPlace(scales: Tensor) -> Bool {
    let (B, L, width) = shape3
    let heads = scales.length(0)
    guard suitsCPUKernels, scales.suitsCPUKernels, scales.dtype == .float32,
      width % (24 * heads) == 0
    else { return false }
    let norm = QueryKeyNorm(
      tokens: L, heads: heads, headSize: width / (3 * heads), rows: rows, scales: scales.numbers)
    let type = kernelType
    inParallel(B * L, grain: 8) { norm.run($0, type) }
    return withExtendedLifetime((self, scales)) { true }
  }
}
