import Testing
import Torch
import TorchTestSupport

@testable import MVAR

/// The kernels for CPUs against the readable path.
@Suite struct RowNormTests {
  init() throws { try LibTorch.load() }

  @Test(arguments: [DType.float32, .bfloat16], [[1, 1, 8], [2, 5, 40], [3, 2, 1024]])
  func modulatedNormEqualsItsFormula(_ dtype: DType, shape: [Int]) throws {
    let (B, C) = (shape[0], shape[2])
    let x = (Tensor.randn(shape, seed: 1) * 3 + 2).to(dtype)
    let parts = Tensor.randn([B, 2, C], seed: 2).to(dtype).chunked(2, axis: 1)
    let expected = x.modulatedNormReference(onePlusScale: parts[0], shift: parts[1])
    let actual = x.modulatedNorm(onePlusScale: parts[0], shift: parts[1])
    #expect(actual.dtype == dtype)
    // float32's mean of numbers around 2 is uncertain in its last place; bfloat16 rounds once instead of twice.
    let roundings = dtype == .float32 ? 16.0 : 2
    let limit = try tolerance(dtype, roundings: roundings, of: expected)
    #expect(try distance(actual, expected) < limit)
  }

  @Test(arguments: [DType.float32, .bfloat16], [1, 3])
  func queriesAndKeysBecomeUnitVectors(_ dtype: DType, heads: Int) throws {
    let (B, L, P) = (2, 5, 64)
    let rows = Tensor.randn([B, L, 3 * heads * P], seed: 1).to(dtype)
    let scales = Tensor.randn([heads], seed: 2).exp()
    let before = rows.clone().reshape(B, L, 3, heads, P).permute(2, 0, 1, 3, 4)
    #expect(rows.normalizeQueriesAndKeysInPlace(scales: scales))
    let after = rows.reshape(B, L, 3, heads, P).permute(2, 0, 1, 3, 4)
    let queries = before[0].to(.float32).normalized() * scales.reshape(heads, 1)
    let keys = before[1].to(.float32).normalized()
    let roundings = dtype == .float32 ? 8.0 : 1
    let limit = try tolerance(dtype, roundings: roundings, of: queries)
    #expect(try distance(after[0], queries) < limit)
    let keyLimit = try tolerance(dtype, roundings: roundings, of: keys)
    #expect(try distance(after[1], keys) < keyLimit)
    #expect(try after[2].isEqual(to: before[2]))
  }
}
