import CUDAKernels
import StateSpace
import Torch

// R sequences, n tokens of each, T = R · n, C width, H heads.

/// What a GPU needs to train M-VAR and VAR fast in 16 bits: the kernels, and where the scales lie.
///
/// Between two products of matrices stands one kernel of ours or libtorch's, forward and backward; blocks keep the
/// residual stream, what their products give, and nothing that is quickly made again. The same as ``Block`` in the same
/// 16 bits, but for the order of roundings.
struct FusedTraining {
  let kernels: TrainingKernels
  private let segments: Segments
  private let scales: [Range<Int>]

  /// Nil where the readable path has to do: on a CPU, in float32, for widths that the kernels do not fit, and where they
  /// cannot be compiled.
  ///
  /// - Parameter x: The residual stream, `[R, n, C]`.
  static func make(
    _ x: Tensor, _ configuration: TransformerConfiguration, scales: [Range<Int>]
  ) -> FusedTraining? {
    guard x.device != .cpu, CUDAKernels.supports(x.dtype),
      TrainingKernels.supports(width: 2 * configuration.width), CUDA.isAvailable,
      let kernels = try? TrainingKernels.shared(x.dtype)
    else { return nil }
    return FusedTraining(
      kernels: kernels,
      segments: Segments(scales.map(\.count), sequences: x.length(0), device: x.device),
      scales: scales)
  }

  /// A block, but for adding its last sublayer.
  func callAsFunction(_ block: Block, _ stream: TrainedStream, _ modulations: [Modulation])
    -> TrainedStream
  {
    let attended = attention(block.attention, stream, modulations[0])
    let mixed = block.mamba.map { mamba($0, attended, modulations[1]) } ?? attended
    return feedForward(block.feedForward, mixed, modulations[modulations.count - 1])
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
    let attend = layer.seesEarlierScales ? attendToEarlierScales : attendInsideScales
    return kernels.sublayer(stream, modulation, weights: weights) { [kernels] x, w in
      let qkv = x.linear(w[0], w[1])
      let unit =
        scales == nil
        ? nil : (scales: w[4], lengths: kernels.makeUnitHeadsInPlace(qkv, scales: w[4]))
      let attended = attend(qkv, constant)
      return SublayerPass(y: attended.out.linear(w[2], w[3])) { dy, x in
        let projection = LinearGradients(dy, attended.out)
        let (dq, dk, dv) = attended.gradients(dy.matmul(w[2]))
        let (dQKV, dBias, dScales) = kernels.qkvGradient(dq, dk, dv, qkv: qkv, unit: unit)
        return (
          dQKV.matmul(w[0]),
          [LinearGradients.weight(dQKV, x), dBias, projection.weight, projection.bias]
            + (dScales.map { [$0] } ?? [])
        )
      }
    }
  }

  /// What attention gives, `[R, n, C]`; and from its gradient those of q, k and v.
  private struct Attended {
    let out: Tensor
    let gradients: (_ dOut: Tensor) -> (q: Tensor, k: Tensor, v: Tensor)
  }

  private func attendInsideScales(_ qkv: Tensor, _ scale: Double) -> Attended {
    let (R, n, width) = qkv.shape3
    func heads() -> (Tensor, Tensor, Tensor) {
      let parts = qkv.reshape(R * n, 3, -1, TransformerConfiguration.headSize)
      return (parts.select(1, 0), parts.select(1, 1), parts.select(1, 2))
    }
    let (q, k, v) = heads()
    let attention = FlashAttention(q, k, v, segments: segments, scale: scale)
    return Attended(out: attention.out.reshape(R, n, width / 3)) { dOut in
      let (q, k, v) = heads()
      return attention.gradients(dOut.reshape(attention.out.shape), q, k, v)
    }
  }

  /// Each scale by itself, to all keys up to its end.
  private func attendToEarlierScales(_ qkv: Tensor, _ scale: Double) -> Attended {
    let (R, n, width) = qkv.shape3
    let scales = scales
    func heads(_ range: Range<Int>) -> (Tensor, Tensor, Tensor) {
      let parts = qkv.reshape(R, n, 3, -1, TransformerConfiguration.headSize)
      let seen = 0..<range.upperBound
      return (
        parts.select(2, 0).slice(1, range), parts.select(2, 1).slice(1, seen),
        parts.select(2, 2).slice(1, seen)
      )
    }
    let parts = scales.map { range in
      let (q, k, v) = heads(range)
      return FlashAttention(q, k, v, scale: scale)
    }
    let out = Tensor.concatenate(parts.map(\.out), axis: 1).reshape(R, n, width / 3)
    return Attended(out: out) { dOut in
      let dOut = dOut.reshape(R, n, -1, TransformerConfiguration.headSize)
      let gradients = zip(scales, parts).map { range, attention in
        let (q, k, v) = heads(range)
        return attention.gradients(dOut.slice(1, range).contiguous(), q, k, v)
      }
      // The last scale sees all keys; the others add to the first of them.
      let last = gradients[gradients.count - 1]
      for (range, part) in zip(scales, gradients.dropLast()) {
        last.k.slice(1, 0..<range.upperBound).addInPlace(part.k)
        last.v.slice(1, 0..<range.upperBound).addInPlace(part.v)
      }
      return (.concatenate(gradients.map(\.q), axis: 1), last.k, last.v)
    }
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
