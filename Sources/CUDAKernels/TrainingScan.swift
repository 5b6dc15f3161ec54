import Torch

/// Gradients of a Mamba-2 layer's small weights, float32, in the shapes of ``MambaScanWeights``.
public struct MambaScanGradients {
  public let convWeight: Tensor
  public let convBias: Tensor
  public let dtBias: Tensor
  public let a: Tensor
  public let d: Tensor
}

/// What a scan computes on the way, made again for its gradient: a step would need a tenth more memory to keep it.
public struct MambaScanTrace {
  /// The scan's output, `[R, n, D]`.
  public let y: Tensor
  /// B and C behind the convolution, `[R, n, 128]`.
  let shared: Tensor
  /// The state in front of each chunk of tokens, `[R, H, chunks, 64, 64]`.
  let states: Tensor
}

extension TrainingKernels {
  /// Convolution, SiLU, selective scan and skip connection over whole sequences, from a state of zero.
  ///
  /// - Parameter projected: `[R, n, 2·D + 128 + H]`, [z, x, B, C, dt] as `in_proj` gives them.
  /// - Returns: `[R, n, D]`, before the gate.
  public func scan(_ projected: Tensor, _ weights: MambaScanWeights) -> Tensor {
    let (R, n, _) = projected.shape3
    let y = empty([R, n, 64 * weights.a.count], projected)
    walk(projected, shared(projected, weights), weights, y: y, states: nil)
    return y
  }

  /// B and C behind the convolution, `[R, n, 128]`.
  private func shared(_ projected: Tensor, _ weights: MambaScanWeights) -> Tensor {
    let (R, n, _) = projected.shape3
    let shared = empty([R, n, 128], projected)
    launch(
      "ssd_shared", grid: ((n + 31) / 32, R, 1), threads: 128,
      [
        .tensor(projected), .tensor(shared), .tensor(weights.convWeight),
        .tensor(weights.convBias), .int(n), .int(weights.a.count),
      ])
    return shared
  }

  private func walk(
    _ projected: Tensor, _ shared: Tensor, _ weights: MambaScanWeights, y: Tensor?, states: Tensor?
  ) {
    let (R, n, _) = projected.shape3
    launch(
      "ssd_forward", grid: (weights.a.count, R, 1), threads: 128,
      [
        .tensor(projected), .tensor(shared), .optional(y), .optional(states),
        .tensor(weights.convWeight), .tensor(weights.convBias), .tensor(weights.dtBias),
        .tensor(weights.a), .tensor(weights.d), .int(n),
      ])
  }

  /// ``scan(_:_:)`` once more, with what its gradient needs.
  public func scanAgain(_ projected: Tensor, _ weights: MambaScanWeights) -> MambaScanTrace {
    let (R, n, _) = projected.shape3
    let H = weights.a.count
    let trace = MambaScanTrace(
      y: empty([R, n, 64 * H], projected), shared: shared(projected, weights),
      states: empty([R, H, (n + 63) / 64, 64, 64], projected))
    walk(projected, trace.shared, weights, y: trace.y, states: trace.states)
    return trace
  }

  /// Gradients of ``scan(_:_:)``; those of x, B, C and dt go to their columns of `dProjected`.
  public func scanGradients(
    _ dy: Tensor, _ projected: Tensor, _ weights: MambaScanWeights, _ trace: MambaScanTrace,
    into dProjected: Tensor
  ) -> MambaScanGradients {
    let (R, n, _) = projected.shape3
    let H = weights.a.count
    let dx = empty([R, n, 64 * H + 128], projected)
    let dShared = empty([R, n, H, 128], projected)
    let heads = sums([R, H, 3], projected)
    launch(
      "ssd_backward", grid: (H, R, 1), threads: 128,
      [
        .tensor(projected), .tensor(trace.shared), .tensor(dy), .tensor(trace.states),
        .tensor(dx), .tensor(dShared), .tensor(dProjected), .tensor(heads),
        .tensor(weights.convWeight),
        .tensor(weights.convBias), .tensor(weights.dtBias), .tensor(weights.a),
        .tensor(weights.d), .int(n),
      ])
    launch(
      "ssd_sum_heads", grid: ((R * n + 7) / 8, 1, 1), threads: 128,
      [.tensor(dShared), .tensor(dx), .int(R * n), .int(H)])
    let segments = (n + 127) / 128
    let taps = sums([R * segments, 64 * H + 128, 5], projected)
    launch(
      "conv_backward", grid: (H + 2, segments, R), threads: 128,
      [
        .tensor(projected), .tensor(dx), .tensor(dProjected), .tensor(taps),
        .tensor(weights.convWeight), .tensor(weights.convBias), .int(n), .int(H),
      ])
    let (tapSums, headSums) = (taps.sum(0), heads.sum(0))
    return MambaScanGradients(
      convWeight: tapSums.slice(1, 0..<4), convBias: tapSums.select(1, 4),
      dtBias: headSums.select(1, 2), a: headSums.select(1, 0), d: headSums.select(1, 1))
  }
}
