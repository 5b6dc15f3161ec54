import CUDAKernels
import Torch

// B images, R = 2·B sequences, n tokens of a scale, C width, V vocabulary.

/// ``Transformer`` as a GPU runs it fastest in 16 bits, sampling with guidance. It shares the weights.
final class FusedTransformer {
  private let transformer: Transformer
  let kernels: CUDAKernels
  let blocks: [FusedBlock]
  /// Nil where each batch computes what its classes decide.
  private(set) var classTable: ClassTable?

  private init(_ transformer: Transformer, _ kernels: CUDAKernels, float8: Bool) {
    self.transformer = transformer
    self.kernels = kernels
    blocks = transformer.blocks.map { FusedBlock($0, kernels, float8: float8) }
  }

  /// Nil where the readable path has to do: on a CPU, or in float32.
  ///
  /// - Parameters:
  ///   - float8: multiplies in 8 bits where that is faster.
  ///   - knowsClasses: whether what a class decides is computed here and now, for all of them, where memory allows it.
  /// - Throws: `TorchError` where the kernels cannot be compiled.
  static func make(
    _ transformer: Transformer, float8: Bool = false, knowsClasses: Bool = true
  ) throws -> FusedTransformer? {
    let dtype = transformer.head.weight.dtype
    guard transformer.head.weight.device != .cpu, CUDAKernels.supports(dtype), CUDA.isAvailable
    else { return nil }
    let kernels = try CUDAKernels.shared(dtype)
    CUDA.omitProductWorkspace()
    let fused = FusedTransformer(transformer, kernels, float8: float8)
    if knowsClasses { fused.classTable = try ClassTable.make(fused, transformer) }
    return fused
  }

  /// What the class adds to every scale, for B images and the unconditional sequences, which share one row.
  struct Condition {
    let blocks: [ModulationTable]
    let head: ModulationTable
  }

  /// - Parameter labels: int64 `[B + 1]`, the last of them the unconditional label; or any labels, each for a sequence of its own.
  func condition(_ labels: Tensor) -> Condition {
    let active = transformer.classEmbedding.embedding(labels).silu()
    let shared = transformer.sharedModulator.map { linear($0, active) }
    return Condition(
      blocks: blocks.map { $0.modulations(condition: active, shared: shared) },
      head: ModulationTable(rows: linear(transformer.headModulator, active)))
  }

  private func linear(_ layer: Linear, _ x: Tensor) -> Tensor {
    kernels.linear(x, layer.weight, layer.bias)
  }

  /// What blocks carry from scale to scale, for R = 2·B sequences.
  func state(batch: Int) -> FusedState {
    FusedState(
      transformer.configuration, sequences: 2 * batch, transformer.head.weight.dtype,
      transformer.head.weight.device)
  }

  /// Begins a batch: what its classes decide, and the first scale's logits before guidance, `[R, n_0, V]`.
  ///
  /// - Parameters:
  ///   - labels: int64 `[B + 1]`, the last of them the unconditional label.
  ///   - sequences: int64 `[R]`, the label of each sequence.
  func begin(labels: Tensor, sequences: Tensor, state: FusedState) -> (
    condition: Condition, logits: Tensor
  ) {
    if let classTable {
      return classTable.begin(labels: labels, sequences: sequences, state: state)
    }
    let condition = condition(labels)
    return (
      condition, step(firstInput(sequences), scale: 0, condition: condition, state: state.blocks)
    )
  }

  /// The residual stream `[R, n_0, C]` that the first scale begins with.
  ///
  /// - Parameter sequences: int64 `[R]`, their labels.
  func firstInput(_ sequences: Tensor) -> Tensor {
    let n = transformer.configuration.schedule.sizes[0].count
    return transformer.classEmbedding.embedding(sequences).unsqueeze(1) + transformer.start
      + transformer.positions.slice(1, 0..<n)
  }

  /// The residual stream `[R, n, C]` that scale k begins with.
  ///
  /// - Parameter input: the token map `[B, n, Cvae]`.
  func input(_ input: Tensor, scale k: Int) -> Tensor {
    let positions = transformer.positions.slice(1, transformer.configuration.schedule.ranges[k])
    let layer = transformer.wordEmbedding
    let (width, channels) = layer.weight.shape2
    if let bias = layer.bias, kernels.embedsTokens(channels: channels, width: width) {
      return kernels.embedTokens(
        input.to(positions.dtype), weight: layer.weight, bias: bias, positions: positions)
    }
    return (layer(input.to(positions.dtype)) + positions).repeated(2, 1, 1)
  }

  /// The logits of scale k before guidance, `[R, n, V]`.
  ///
  /// - Parameters:
  ///   - x: the residual stream `[R, n, C]`, changed in place.
  ///   - state: each block's.
  ///   - note: is given what each block's `in_proj` makes.
  func step(
    _ x: Tensor, scale k: Int, condition: Condition, state: [FusedBlock.State],
    noting note: (_ block: Int, _ projected: Tensor) -> Void = { _, _ in }
  ) -> Tensor {
    let schedule = transformer.configuration.schedule
    let place = FusedBlock.Place(
      scale: k, firstToken: schedule.ranges[k].lowerBound, isLast: k == schedule.count - 1)
    var pending: SublayerOutput?
    for (index, block) in blocks.enumerated() {
      pending = block(
        x, after: pending, condition.blocks[index], state: state[index], at: place
      ) { note(index, $0) }
    }
    let y = kernels.modulatedNorm(
      x, adding: pending, table: condition.head,
      columns: (scale: 0, shift: transformer.configuration.width))
    return linear(transformer.head, y)
  }
}
