import Testing
import Torch
import TorchTestSupport

@testable import CUDAKernels

// What tests of kernels share.

let types: [DType] = [.bfloat16, .float16]
let kernelSets = types.flatMap { dtype in
  [false, true].map { KernelSet(dtype: dtype, isOfSmallGPU: $0) }
}

/// The kernels as this GPU has them, or as one does whose blocks have less shared memory (99 KiB, compute capability 8.6,
/// 8.9 and 12).
struct KernelSet: Sendable {
  let dtype: DType
  let isOfSmallGPU: Bool

  func kernels() throws -> CUDAKernels {
    try isOfSmallGPU
      ? CUDAKernels(dtype, largestSharedMemory: 99 << 10) : CUDAKernels.shared(dtype)
  }
}

func random(_ shape: Int..., seed: UInt64, _ dtype: DType, scale: Double = 1) -> Tensor {
  (Tensor.randn(shape, seed: seed) * scale).to(dtype, device: gpu)
}

func readable(_ x: Tensor) -> Tensor { x.to(.float32, device: .cpu) }

/// A share of the largest number, as sums of rounded numbers have it.
func expectClose(
  _ found: Tensor, _ expected: Tensor, _ dtype: DType, roundings: Double = 4,
  _ comment: Comment? = nil, location: SourceLocation = #_sourceLocation
) throws {
  let step = dtype == .bfloat16 ? 0x1p-8 : 0x1p-11
  let largest = try expected.absolute().reshape(-1).max(0).item()
  let distance = try distance(readable(found), expected)
  #expect(
    distance <= roundings * step * max(largest, 1e-3), comment, sourceLocation: location)
}
