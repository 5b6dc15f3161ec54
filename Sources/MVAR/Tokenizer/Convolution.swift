import CUDAKernels
import Torch

/// A convolution over `[B, C, H, W]`, channels last in memory.
struct Convolution {
  let weight: Tensor
  let bias: Tensor
  let stride: Int
  let padding: Int

  init(
    _ p: Parameters, _ inputs: Int, _ outputs: Int, kernel: Int = 3, stride: Int = 1,
    padding: Int? = nil
  ) {
    weight = p.tensor("weight", outputs, inputs, kernel, kernel).channelsLast()
    bias = p.tensor("bias", outputs)
    self.stride = stride
    self.padding = padding ?? kernel / 2
  }

  func callAsFunction(_ x: Tensor) -> Tensor {
    x.conv2d(weight, bias, stride: stride, padding: padding)
  }
}

/// Group normalisation with 32 groups, ε 1e-6.
struct GroupNorm {
  let weight: Tensor
  let bias: Tensor

  init(_ p: Parameters, _ channels: Int) {
    weight = p.tensor("weight", channels)
    bias = p.tensor("bias", channels)
  }

  func callAsFunction(_ x: Tensor) -> Tensor { x.groupNorm(32, weight, bias, epsilon: 1e-6) }

  func thenSiLU(_ x: Tensor) -> Tensor {
    if let kernels = trainingKernels(for: x) {
      return kernels.differentiableGroupNormSiLU(x, weight: weight, shift: bias)
    }
    let y = self(x)
    y.siluInPlace()
    return y
  }

  /// The kernels of training, where they do this.
  private func trainingKernels(for x: Tensor) -> CUDAKernels? {
    guard x.device != .cpu, x.requiresGradient || weight.requiresGradient,
      CUDAKernels.supports(x.dtype), weight.dtype == x.dtype,
      CUDAKernels.normalizesGroups(ofChannels: x.length(1))
    else { return nil }
    return try? .shared(x.dtype)
  }
}
