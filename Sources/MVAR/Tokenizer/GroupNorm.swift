import CPUKernels
import CUDAKernels
import StateSpace
import Torch

// B pictures, C channels, H × W pixels.

/// Group normalisation with 32 groups, ε 1e-6.
struct GroupNorm {
  private static let groups = 32
  private static let epsilon = 1e-6

  let weight: Tensor
  let bias: Tensor

  init(_ p: Parameters, _ channels: Int) {
    weight = p.tensor("weight", channels)
    bias = p.tensor("bias", channels)
  }

  func callAsFunction(_ x: Tensor) -> Tensor {
    x.groupNorm(Self.groups, weight, bias, epsilon: Self.epsilon)
  }

  /// - Parameter overwriting: Whether nobody needs `x [B, C, H, W]` any more, so that its memory may take the result.
  func thenSiLU(_ x: Tensor, overwriting: Bool = false) -> Tensor {
    if let kernels = trainingKernels(for: x) {
      return kernels.differentiableGroupNormSiLU(x, weight: weight, shift: bias)
    }
    return onCPU(x, overwriting: overwriting) ?? thenSiLUReference(x)
  }

  func thenSiLUReference(_ x: Tensor) -> Tensor {
    let y = self(x)
    y.siluInPlace()
    return y
  }

  /// By a kernel for CPUs; nil where that does not fit.
  private func onCPU(_ x: Tensor, overwriting: Bool) -> Tensor? {
    let (B, C, H, W) = x.shape4
    guard x.isChannelsLast, C % Self.groups == 0, C % 8 == 0,
      x.permute(0, 2, 3, 1).suitsCPUKernels, weight.suitsCPUKernels, bias.suitsCPUKernels
    else { return nil }
    let (weight, bias) = (weight.to(.float32), bias.to(.float32))
    let scratch = Tensor.empty([
      GroupNormSiLU.scratchCount(batch: B, pixels: H * W, channels: C)
    ])
    let y = overwriting ? x : .emptyChannelsLast([B, C, H, W], dtype: x.dtype)
    let norm = GroupNormSiLU(
      batch: B, pixels: H * W, channels: C, groups: Self.groups, epsilon: Self.epsilon,
      input: x.memory, output: y.memory, weight: weight.numbers, bias: bias.numbers,
      scratch: scratch.numbers)
    let type = x.kernelType
    inParallel(norm.units, grain: 4) { norm.measure($0, type) }
    inParallel(1) { _ in norm.prepare() }
    inParallel(norm.units, grain: 4) { norm.apply($0, type) }
    return withExtendedLifetime((x, weight, bias, scratch)) { y }
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
