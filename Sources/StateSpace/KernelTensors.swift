import CPUKernels
import Torch

extension Tensor {
  /// `[B, L, C]` as kernels for CPUs take it; the tensor has to outlive that.
  package var rows: Rows {
    let strides = strides
    requireOfTensors(strides.count == 3 && strides[2] == 1)
    return Rows(memory, batchStride: strides.first ?? 0, rowStride: strides.dropFirst().first ?? 0)
  }

  /// The elements of a contiguous float32 tensor.
  package var numbers: UnsafeMutablePointer<Float> {
    requireOfTensors(dtype == .float32 && isContiguous)
    return memory.assumingMemoryBound(to: Float.self)
  }

  package var kernelType: KernelType { dtype == .bfloat16 ? .bfloat16 : .float32 }
}
