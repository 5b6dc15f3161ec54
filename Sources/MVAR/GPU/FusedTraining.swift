import CUDAKernels
import StateSpace
import Torch

// R sequences, n tokens of each, T = R · n, C width, H heads.

/// What a GPU needs to train M-VAR fast in 16 bits: the kernels, and where the scales lie.
///
/// Between two products of matrices stands one kernel of ours or libtorch's, forward and backward; blocks keep the
/// residual stream, what their products give, and nothing that is quickly made again. The same as ``Block`` in the same
/// 16 bits, but for the order of roundings.
struct FusedTraining {
  let kernels: TrainingKernels
  private let segments: Segments

  /// Nil where the readable path has to do: on a CPU, in float32, in VAR, for widths that the kernels do not fit, and
  /// where they cannot be compiled.
  ///
  /// - Parameter x: The residual stream, `[R, n, C]`.
  static func make(
    _ x: Tensor, _ configuration: TransformerConfiguration, scales: [Range<Int>]
  ) -> FusedTraining? {
    guard x.device != .cpu, CUDAKernels.supports(x.dtype), configuration.kind == .mvar,
      TrainingKernels.supports(width: 2 * configuration.width), CUDA.isAvailable,
      let kernels = try? TrainingKernels.shared(x.dtype)
    else { return nil }
    return FusedTraining(
      kernels: kernels,
      segments: Segments(scales.map(\.count), sequences: x.length(0), device: x.device))
  }

  /// A block, but for adding its last sublayer.
  func callAsFunction(_ block: Block, _ stream: TrainedStream, _ modulations: [Modulation])
    -> TrainedStream
  {
    let attended = attention(block.attention, stream, modulations[0])
    let mixed = mamba(block.mamba!, attended, modulations[1])
    return feedForward(block.feedForward, mixed, modulations[2])
  }

  // MARK: Attention

  private func attention(_ layer: Attention, _ stream: TrainedStream, _ modulation: Modulation)
    -> TrainedStream
  {
    let scales = layer.queryScale.map { $0.to(.float32).reshape(-1) }
    let constant = scales == nil ? 0.25 / Double(TransformerConfiguration.headSize).squareRoot() : 1
    let weights =
      [layer.qkv.weight, layer.qkv.bias!, layer.projection.weight, layer.projection.bias!]
      + (scales.map { [$0] } ?? [])
    return kernels.sublayer(stream, modulation, weights: weights) { [kernels, segments] x, w in
      let qkv = x.linear(w[0], w[1])
      let unit =
        scales == nil
        ? nil : (scales: w[4], lengths: kernels.makeUnitHeadsInPlace(qkv, scales: w[4]))
      let (q, k, v) = Self.heads(qkv)
      let (attended, logs) = q.segmentAttention(k, v, segments: segments, scale: constant)
      let rows = attended.reshape(x.shape)
      return SublayerPass(y: rows.linear(w[2], w[3])) { dy, x in
        let projection = LinearGradients(dy, rows)
        let (q, k, v) = Self.heads(qkv)
        let (dq, dk, dv) = dy.matmul(w[2]).reshape(attended.shape).segmentAttentionGradients(
          q, k, v, out: attended, logs: logs, segments: segments, scale: constant)
        let (dQKV, dBias, dScales) = kernels.qkvGradient(
          dq.contiguous(), dk.contiguous(), dv.contiguous(), qkv: qkv, unit: unit)
        return (
          dQKV.matmul(w[0]),
          [LinearGradients.weight(dQKV, x), dBias, projection.weight, projection.bias]
            + (dScales.map { [$0] } ?? [])
        )
      }
    }
  }

  /// q, k and v of `[R, n, 3·C]`, views `[T, H, 64]`.
  private static func heads(_ qkv: Tensor) -> (Tensor, Tensor, Tensor) {
    let parts = qkv.reshape(-1, 3, qkv.length(2) / 192, TransformerConfiguration.headSize)
    return (parts.select(1, 0), parts.select(1, 1), parts.select(1, 2))
  }

  // MARK: Mamba-2

  private func mamba(_ layer: Mamba2, _ stream: TrainedStream, _ modulation: Modulation)
    -> TrainedStream
  {
    let weights = [
      layer.inProj.weight, layer.convWeight, layer.convBias, layer.dtBias, layer.a, layer.d,
      layer.normWeight, layer.outProj.weight,
    ]
    return kernels.sublayer(stream, modulation, weights: weights) { [kernels] x, w in
      let scan = MambaScanWeights(
        convWeight: w[1].reshape(-1, Mamba2.convWidth).contiguous(), convBias: w[2].contiguous(),
        dtBias: w[3].contiguous(), a: w[4].contiguous(), d: w[5].contiguous())
      let projected = x.linear(w[0])
      let gated = kernels.gatedNorm(
        kernels.scan(projected, scan), projected, weight: w[6])
      return SublayerPass(y: gated.linear(w[7])) { dy, x in
        let dProjected = Tensor.empty(projected.shape, dtype: x.dtype, device: x.device)
        let trace = kernels.scanAgain(projected, scan)
        let norm = kernels.gatedNormGradients(
          dy.matmul(w[7]), trace.y, projected, weight: w[6], into: dProjected)
        let dOut = LinearGradients.weight(dy, norm.out)
        let small = kernels.scanGradients(norm.y, projected, scan, trace, into: dProjected)
        return (
          dProjected.matmul(w[0]),
          [
            LinearGradients.weight(dProjected, x), small.convWeight.reshape(w[1].shape),
            small.convBias, small.dtBias, small.a, small.d, norm.weight, dOut,
          ]
        )
      }
    }
  }

  // MARK: Feed-forward

  private func feedForward(_ layer: FeedForward, _ stream: TrainedStream, _ modulation: Modulation)
    -> TrainedStream
  {
    let weights = [layer.fc1.weight, layer.fc1.bias!, layer.fc2.weight, layer.fc2.bias!]
    return kernels.sublayer(stream, modulation, weights: weights) { [kernels] x, w in
      let hidden = x.linear(w[0], w[1])
      return SublayerPass(y: hidden.geluTanh().linear(w[2], w[3])) { dy, x in
        let (dHidden, dBias, activated) = kernels.geluGradient(dy.matmul(w[2]), hidden)
        let second = LinearGradients(dy, activated)
        return (
          dHidden.matmul(w[0]),
          [LinearGradients.weight(dHidden, x), dBias, second.weight, second.bias]
        )
      }
    }
  }
}
