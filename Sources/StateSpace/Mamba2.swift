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
  }

  /// Runs over the tokens `x [B, L, C]` that follow those which `state` has seen.
  ///
  /// - Parameter state: Nil at the start; holds what the next call needs afterwards, where
  ///   `keepsState` says that there will be one.
  /// - Returns: `[B, L, C]`
  public func callAsFunction(_ x: Tensor, state: inout Mamba2State?, keepsState: Bool = true)
    -> Tensor
  {
    let (B, L, _) = x.shape3
    let N = Self.stateSize
    let parts = inProj(x).split([inner, inner + 2 * N, heads], axis: 2)
    let (z, dt) = (parts[0], (parts[2].to(.float32) + dtBias).softplus())

    let rows = Tensor.concatenate([state?.conv ?? emptyRows(like: parts[1]), parts[1]], axis: 1)
    let xBC = convolved(rows.to(.float32), count: L).split([inner, N, N], axis: 2)
    let input = ScanInput(
      x: xBC[0].reshape(B, L, heads, Self.headSize), dt: dt, a: a, b: xBC[1], c: xBC[2])
    let (scanned, ssm) = selectiveScan(input, state: state?.ssm, needsState: keepsState)
    state = ssm.map {
      Mamba2State(conv: rows.slice(1, L..<L + Self.convWidth - 1).clone(), ssm: $0)
    }

    let y = scanned.adding(input.x, times: d.unsqueeze(1)).reshape(B, L, inner).to(x.dtype)
    return outProj((y * z.silu()).rmsNorm(normWeight, epsilon: 1e-5))
  }

  /// The causal depthwise convolution and SiLU: `[B, L + 3, channels]` → `[B, L, channels]`.
  ///
  /// As a sum of shifted rows, which keeps the channels innermost; in float32, which the scan wants
  /// and which is faster than bfloat16 at this.
  private func convolved(_ rows: Tensor, count L: Int) -> Tensor {
    let weight = convWeight.select(1, 0)  // [channels, 4]
    var sum = convBias.adding(rows.slice(1, 0..<L), times: weight.select(1, 0))
    for tap in 1..<Self.convWidth {
      sum = sum.adding(rows.slice(1, tap..<tap + L), times: weight.select(1, tap))
    }
    sum.siluInPlace()
    return sum
  }

  private func emptyRows(like xBC: Tensor) -> Tensor {
    let (B, _, channels) = xBC.shape3
    return .zeros([B, Self.convWidth - 1, channels], dtype: xBC.dtype, device: xBC.device)
  }
}
