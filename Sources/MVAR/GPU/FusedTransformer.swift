import CUDAKernels
import Torch

// B images, R = 2·B sequences, n tokens of a scale, C width, V vocabulary.

/// ``Transformer`` as a GPU runs it fastest in 16 bits, sampling with guidance. It shares the weights.
final class FusedTransformer {
  private let transformer: Transformer
  let kernels: CUDAKernels
  let blocks: [FusedBlock]

  private init(_ transformer: Transformer, _ kernels: CUDAKernels, float8: Bool) {
    self.transformer = transformer
    self.kernels = kernels
    blocks = transformer.blocks.map { FusedBlock($0, kernels, float8: float8) }
  }

  /// Nil where the readable path has to do: on a CPU, or in float32.
  ///
  /// - Parameter float8: multiplies in 8 bits where that is faster.
  /// - Throws: `TorchError` where the kernels cannot be compiled.
  static func make(_ transformer: Transformer, float8: Bool = false) throws -> FusedTransformer? {
    let dtype = transformer.head.weight.dtype
    guard transformer.head.weight.device != .cpu, CUDAKernels.supports(dtype), CUDA.isAvailable
    else { return nil }
    let kernels = try CUDAKernels.shared(dtype)
    CUDA.omitProductWorkspace()
    return FusedTransformer(transformer, kernels, float8: float8)
  }

  /// What the class adds to every scale, for B images and the unconditional sequences, which share one row.
  struct Condition {
    let start: Tensor  // [R, n_0, C]
    let blocks: [ModulationTable]
    let head: ModulationTable
  }

  /// - Parameter labels: int64 `[B + 1]`, the last of them the unconditional label.
  func condition(_ labels: Tensor) -> Condition {
    let embedding = transformer.classEmbedding.embedding(labels)
    let active = embedding.silu()
    let B = labels.length(0) - 1
    let unconditional = embedding.slice(0, B..<B + 1).repeated(B, 1)
    let rows = Tensor.concatenate([embedding.slice(0, 0..<B), unconditional], axis: 0)
    let n = transformer.configuration.schedule.sizes[0].count
    let shared = transformer.sharedModulator.map { linear($0, active) }
    return Condition(
      start: rows.unsqueeze(1) + transformer.start + transformer.positions.slice(1, 0..<n),
      blocks: blocks.map { $0.modulations(condition: active, shared: shared) },
      head: ModulationTable(rows: linear(transformer.headModulator, active)))
  }

  private func linear(_ layer: Linear, _ x: Tensor) -> Tensor {
    kernels.linear(x, layer.weight, layer.bias)
  }

  func state(batch: Int) -> [FusedBlock.State] {
    let weight = transformer.head.weight
    return blocks.map {
      $0.state(
        sequences: 2 * batch, tokens: transformer.configuration.schedule.tokenCount, weight.dtype,
        weight.device)
    }
  }

  /// The logits of scale k before guidance, `[R, n, V]`.
  ///
  /// - Parameter input: the token map `[B, n, Cvae]`; nil for the first scale.
  func step(
    _ input: Tensor?, scale k: Int, condition: Condition, state: [FusedBlock.State]
  ) -> Tensor {
    let schedule = transformer.configuration.schedule
    let range = schedule.ranges[k]
    let x = embed(input, range, condition)
    let place = FusedBlock.Place(
      scale: k, firstToken: range.lowerBound, isLast: k == schedule.count - 1)
    var pending: SublayerOutput?
    for (index, block) in blocks.enumerated() {
      pending = block(
        x, after: pending, condition.blocks[index], state: state[index], at: place)
    }
    let y = kernels.modulatedNorm(
      x, adding: pending, table: condition.head,
      columns: (scale: 0, shift: transformer.configuration.width))
    return linear(transformer.head, y)
  }

  private func embed(_ input: Tensor?, _ range: Range<Int>, _ condition: Condition) -> Tensor {
    // A copy, as the residual stream is changed in place.
    guard let input else { return condition.start.clone() }
    let positions = transformer.positions.slice(1, range)
    let layer = transformer.wordEmbedding
    let (width, channels) = layer.weight.shape2
    if let bias = layer.bias, kernels.embedsTokens(channels: channels, width: width) {
      return kernels.embedTokens(
        input.to(positions.dtype), weight: layer.weight, bias: bias, positions: positions)
    }
    return (transformer.wordEmbedding(input.to(positions.dtype)) + positions).repeated(2, 1, 1)
  }
}
