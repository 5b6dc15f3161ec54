import Torch

// B batch, L tokens, C width, H heads, P head dimension, N state.

/// A Mamba-2 layer with one group (arXiv 2405.21060; `mamba_ssm/modules/mamba2.py`).
public struct Mamba2 {
  public static let stateSize = 64
  public static let headSize = 64
  public static let convWidth = 4

  package let inner: Int
  package let heads: Int
  package let inProj: Linear
  package let convWeight: Tensor  // [channels, 1, 4]
  package let convBias: Tensor
  package let dtBias: Tensor
  package let a: Tensor
  package let d: Tensor
  package let normWeight: Tensor
  package let outProj: Linear
  private let isTraining: Bool
  private let mixer: Mamba2Mixer
  private let cpuMixer: CPUMixer?

  /// - Parameter width: C; the inner width is 2 C.
  public init(_ p: Parameters, width: Int) {
    inner = 2 * width
    heads = inner / Self.headSize
    let channels = inner + 2 * Self.stateSize
    inProj = Linear(p / "in_proj", width, inner + channels + heads, bias: false)
    convWeight = (p / "conv1d").tensor("weight", channels, 1, Self.convWidth, dtype: .float32)
    convBias = (p / "conv1d").tensor("bias", channels, dtype: .float32)
    dtBias = p.tensor("dt_bias", heads, dtype: .float32)
    a = -p.tensor("A_log", heads, dtype: .float32).exp()
    d = p.tensor("D", heads, dtype: .float32)
    normWeight = (p / "norm").tensor("weight", inner)
    outProj = Linear(p / "out_proj", inner, width, bias: false)
    isTraining = p.purpose == .training
    mixer = Mamba2Mixer(convWeight: convWeight, convBias: convBias, dtBias: dtBias, a: a, d: d)
    cpuMixer = isTraining ? nil : CPUMixer(mixer)
  }

  /// Runs over the tokens `x [B, L, C]` that follow those which `state` has seen.
  ///
  /// - Parameter state: Nil at the start; holds what the next call needs afterwards, where
  ///   `keepsState` says that there will be one.
  /// - Returns: `[B, L, C]`
  public func callAsFunction(_ x: Tensor, state: inout Mamba2State?, keepsState: Bool = true)
    -> Tensor
  {
    let parts = inProj(x).split([inner, inner + 2 * Self.stateSize, heads], axis: 2)
    let mixed: Tensor
    if let cpuMixer, parts[1].suitsCPUKernels {
      (mixed, state) = cpuMixer(
        xBC: parts[1], dt: parts[2], state: state, keepsState: keepsState)
      return outProj(mixed.gated(by: parts[0], normWeight: normWeight))
    }
    if isTraining, state == nil, !keepsState {
      mixed = mixer.recomputed(xBC: parts[1], dt: parts[2])
    } else {
      (mixed, state) = mixer(xBC: parts[1], dt: parts[2], state: state, keepsState: keepsState)
    }
    return outProj((mixed * parts[0].silu()).rmsNorm(normWeight, epsilon: 1e-5))
  }
}
