import Torch

// B batch, L tokens, H heads, P head dimension, N state.

/// What a Mamba-2 layer does between its two projections: convolution, scan and skip connection.
struct Mamba2Mixer {
  /// `[channels, 1, 4]`
  let convWeight: Tensor
  let convBias: Tensor
  /// `[H]`
  let dtBias: Tensor
  /// Negative decay rates, `[H]`.
  let a: Tensor
  /// `[H]`
  let d: Tensor

  /// - Parameters:
  ///   - xBC: `[B, L, H P + 2 N]`
  ///   - dt: Step sizes before softplus, `[B, L, H]`.
  ///   - keepsState: Whether tokens will follow.
  /// - Returns: `[B, L, H P]` in the type of `xBC`, and the state where it is kept.
  func callAsFunction(xBC: Tensor, dt: Tensor, state: Mamba2State?, keepsState: Bool) -> (
    Tensor, Mamba2State?
  ) {
    let (B, L, channels) = xBC.shape3
    let (H, N, P) = (dt.length(2), Mamba2.stateSize, Mamba2.headSize)
    let kept = Mamba2.convWidth - 1
    let before =
      state?.conv ?? .zeros([B, kept, channels], dtype: xBC.dtype, device: xBC.device)
    let rows = Tensor.concatenate([before, xBC], axis: 1)
    let parts = convolved(rows.to(.float32), count: L).split([H * P, N, N], axis: 2)
    let input = ScanInput(
      x: parts[0].reshape(B, L, H, P), dt: (dt.to(.float32) + dtBias).softplus(), a: a,
      b: parts[1], c: parts[2])
    let (scanned, ssm) = selectiveScan(input, state: state?.ssm, needsState: keepsState)
    let y = scanned.adding(input.x, times: d.unsqueeze(1)).reshape(B, L, H * P).to(xBC.dtype)
    return (y, ssm.map { Mamba2State(conv: rows.slice(1, L..<L + kept).clone(), ssm: $0) })
  }

  /// The causal depthwise convolution and SiLU: `[B, L + 3, channels]` → `[B, L, channels]`.
  ///
  /// As a sum of shifted rows, which keeps the channels innermost; in float32, which the scan wants
  /// and which is faster than bfloat16 at this.
  private func convolved(_ rows: Tensor, count L: Int) -> Tensor {
    let weight = convWeight.select(1, 0)  // [channels, 4]
    var sum = convBias.adding(rows.slice(1, 0..<L), times: weight.select(1, 0))
    for tap in 1..<Mamba2.convWidth {
      sum = sum.adding(rows.slice(1, tap..<tap + L), times: weight.select(1, tap))
    }
    if sum.requiresGradient { return sum.silu() }
    sum.siluInPlace()
    return sum
  }
}

extension Mamba2Mixer {
  /// The same over whole sequences, keeping nothing for the backward pass but its inputs.
  ///
  /// Recorded as it stands, the mixer would keep a matrix `[B, H, chunk, chunk]` for each chunk and
  /// several copies of its input in float32; computing them once more in the backward pass costs a
  /// few percent of a step and saves most of a step's memory. A fused kernel with a backward of its
  /// own belongs here: same inputs, same gradients.
  ///
  /// - Returns: `[B, L, H P]`
  func recomputed(xBC: Tensor, dt: Tensor) -> Tensor {
    let inputs = [xBC, dt, convWeight, convBias, dtBias, a, d]
    let kept = inputs.map { $0.detached() }
    let outputs = withCustomGradient(of: inputs) {
      [callAsFunction(xBC: xBC, dt: dt, state: nil, keepsState: false).0]
    } backward: { gradients in
      guard let gradient = gradients[0] else { return kept.map { _ in nil } }
      let leaves = kept.map { $0.detached() }
      for leaf in leaves { leaf.setRequiresGradient() }
      let again = withGradient {
        Mamba2Mixer(leaves)(xBC: leaves[0], dt: leaves[1], state: nil, keepsState: false).0
      }
      return again.gradients(of: leaves, from: gradient)
    }
    return outputs[0]
  }

  /// - Parameter tensors: In the order of ``recomputed(xBC:dt:)``.
  private init(_ tensors: [Tensor]) {
    self.init(
      convWeight: tensors[2], convBias: tensors[3], dtBias: tensors[4], a: tensors[5],
      d: tensors[6])
  }
}
