import CPUKernels
import Torch

// B batch, L tokens, H heads, P head dimension, N state.

/// What ``Mamba2Mixer`` computes, by kernels for CPUs: the recurrence in one pass, without gradients.
struct CPUMixer {
  private let taps: Tensor  // [4, channels]
  private let convBias: Tensor
  private let dtBias: Tensor
  private let a: Tensor
  private let d: Tensor

  /// Nil where the parameters are not for a CPU that runs the kernels.
  init?(_ mixer: Mamba2Mixer) {
    let tensors = [mixer.convWeight, mixer.convBias, mixer.dtBias, mixer.a, mixer.d]
    guard tensors.allSatisfy(\.suitsCPUKernels) else { return nil }
    taps = mixer.convWeight.select(1, 0).transposed.contiguous()
    (convBias, dtBias, a, d) = (mixer.convBias, mixer.dtBias, mixer.a, mixer.d)
  }

  /// As ``Mamba2Mixer/callAsFunction(xBC:dt:state:keepsState:)``. The state has the memory order of the kernel: N before P.
  func callAsFunction(xBC: Tensor, dt: Tensor, state: Mamba2State?, keepsState: Bool) -> (
    Tensor, Mamba2State?
  ) {
    let (B, L, channels) = xBC.shape3
    let (H, N, P) = (dt.length(2), MambaMixing.stateSize, MambaMixing.headSize)
    requireOfTensors(channels == H * P + 2 * N && taps.shape == [4, channels])
    let before = state?.conv ?? .zeros([B, 3, channels], dtype: xBC.dtype)
    let scratch = Tensor.empty([MambaMixing.scratchCount(batch: B, tokens: L)])
    let ssm =
      state?.ssm.transposed.contiguous().clone() ?? Tensor.zeros([B, H, N, P])
    let y = Tensor.empty([B, L, H * P], dtype: xBC.dtype)
    let mixing = MambaMixing(
      batch: B, tokens: L, heads: H, input: xBC.rows, before: before.rows,
      parameters: .init(
        taps: taps.numbers, bias: convBias.numbers, stepBias: dtBias.numbers, a: a.numbers,
        d: d.numbers),
      steps: dt.rows, scratch: scratch.numbers, state: ssm.numbers, output: y.rows)
    requireOfTensors(dt.dtype == xBC.dtype && before.dtype == xBC.dtype)
    let type = xBC.kernelType
    inParallel(mixing.preparations, grain: 8) { mixing.prepare($0, type) }
    inParallel(mixing.scans, grain: 2) { mixing.scan($0, type) }
    withExtendedLifetime((self, xBC, dt, before, scratch, ssm)) {}
    guard keepsState else { return (y, nil) }
    return (y, Mamba2State(conv: lastRows(before, xBC), ssm: ssm.transposed))
  }

  /// The last three rows of both, in memory of their own.
  private func lastRows(_ before: Tensor, _ xBC: Tensor) -> Tensor {
    let L = xBC.length(1)
    let recent = xBC.slice(1, max(0, L - 3)..<L)
    return L >= 3 ? recent.clone() : .concatenate([before.slice(1, L..<3), recent], axis: 1)
  }
}

extension Tensor {
  /// RMSNorm(self SiLU(z)) in the memory of self, for `[B, L, C]` that kernels for CPUs suit.
  func gated(by z: Tensor, normWeight: Tensor) -> Tensor {
    let (B, L, C) = shape3
    requireOfTensors(z.shape == [B, L, C] && normWeight.shape == [C] && C % 8 == 0)
    requireOfTensors(z.dtype == dtype && normWeight.dtype == dtype && normWeight.isContiguous)
    let norm = GatedNorm(
      tokens: L, width: C, epsilon: 1e-5, input: rows, gate: z.rows, weight: normWeight.memory,
      output: rows)
    let type = kernelType
    inParallel(B * L, grain: 8) { norm.run($0, type) }
    return withExtendedLifetime((z, normWeight)) { self }
  }
}
