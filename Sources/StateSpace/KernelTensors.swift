import CPUKernels
import Torch

extension Tensor {
  /// `[B, L, C]` as kernels for CPUs take it; the tensor has to outlive that.
  package var rows: Rows {
    let strides = strides
    precondition(strides.count == 3 && strides[2] == 1, "rows of \(self)")
    return Rows(memory, batchStride: strides[0], rowStride: strides[1])
  }

  /// The elements of a contiguous float32 tensor.
  package var numbers: UnsafeMutablePointer<Float> {
    precondition(dtype == .float32 && isContiguous, "numbers of \(self)")
    return memory.assumingMemoryBound(to: Float.self)
  }

  package var kernelType: KernelType { dtype == .bfloat16 ? .bfloat16 : .float32 }
}
