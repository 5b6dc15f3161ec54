import Torch

// B rows (images, twice with guidance), L tokens, n_k tokens of scale k, C width, V vocabulary.

/// M-VAR (arXiv 2411.10433) or VAR (arXiv 2404.02905): logits of a scale's tokens from its input.
public struct Transformer {
  public let configuration: TransformerConfiguration
  let wordEmbedding: Linear
  let classEmbedding: Tensor  // [classes + 1, C]
  let start: Tensor  // [1, n_0, C]
  let positions: Tensor  // [1, L, C], of place and scale
  let sharedModulator: Linear?
  let blocks: [Block]
  let headModulator: Linear
  let head: Linear

  /// - Parameter configuration: Nil to read it off the parameters.
  /// - Throws: ``MVARError`` where they are of no transformer that this library knows.
  public init(_ p: Parameters, configuration: TransformerConfiguration? = nil) throws {
    let configuration = try configuration ?? TransformerConfiguration(p)
    let C = configuration.width
    let schedule = configuration.schedule
    self.configuration = configuration
    for name in ["lvl_1L", "attn_bias_for_masking", "zero_k_bias"] { p.skip(name) }
    wordEmbedding = Linear(p / "word_embed", configuration.codeChannels, C)
    classEmbedding = (p / "class_emb").tensor("weight", configuration.classes + 1, C)
    start = p.tensor("pos_start", 1, schedule.sizes[0].count, C)
    positions = Self.positions(p, configuration)
    sharedModulator =
      configuration.sharedAdaLN
      ? Linear(p / "shared_ada_lin" / "1", C, (configuration.kind == .mvar ? 9 : 6) * C) : nil
    blocks = (0..<configuration.depth).map { Block(p / "blocks" / $0, configuration) }
    headModulator = Linear(p / "head_nm" / "ada_lin" / "1", C, 2 * C)
    head = Linear(p / "head", C, configuration.vocabulary)
  }

  private static func positions(_ p: Parameters, _ configuration: TransformerConfiguration)
    -> Tensor
  {
    let (C, schedule) = (configuration.width, configuration.schedule)
    let places = p.tensor("pos_1LC", 1, schedule.tokenCount, C, dtype: .float32)
    let levels = (p / "lvl_embed").tensor("weight", schedule.count, C, dtype: .float32)
    let level = schedule.sizes.enumerated().flatMap { Array(repeating: $0, count: $1.count) }
    return (places + levels.embedding(.of(level, device: p.device)).unsqueeze(0)).to(p.dtype)
  }

  /// What depends on the class alone and is the same at every scale.
  public struct Condition {
    let embedding: Tensor  // [B, C]
    let blocks: [[Modulation]]
    let headScale: Tensor  // [B, 1, C], one added
    let headShift: Tensor

    /// The same with what each sublayer adds to its input scaled, row by row: stochastic depth
    /// (arXiv 1603.09382) scales by 0 or by 1 / p.
    ///
    /// - Parameter factors: `[depth, n, B]` for n sublayers a block.
    public func scalingSublayers(by factors: Tensor) -> Condition {
      let factors = factors.to(embedding.dtype)
      let blocks = blocks.enumerated().map { index, modulations in
        modulations.enumerated().map { sublayer, modulation in
          let factor = factors[index][sublayer].reshape(-1, 1, 1)
          return Modulation(
            gain: modulation.gain * factor, onePlusScale: modulation.onePlusScale,
            shift: modulation.shift)
        }
      }
      return Condition(
        embedding: embedding, blocks: blocks, headScale: headScale, headShift: headShift)
    }
  }

  /// The label that stands for no class.
  public var unconditionalLabel: Int { configuration.classes }

  /// - Parameter labels: `[B]` int64; ``unconditionalLabel`` for none.
  public func condition(_ labels: Tensor) -> Condition {
    let embedding = classEmbedding.embedding(labels)
    let active = embedding.silu()
    let (B, C) = embedding.shape2
    let shared = sharedModulator.map { $0(active).reshape(B, -1, C) }
    let head = headModulator(active).reshape(B, 2, C)
    return Condition(
      embedding: embedding,
      blocks: blocks.map { $0.modulations(condition: active, shared: shared) },
      headScale: head.slice(1, 0..<1) + 1, headShift: head.slice(1, 1..<2))
  }

  /// What the blocks carry from scale to scale.
  public struct State {
    var blocks: [BlockState]
    /// The next scale.
    var scale = 0
  }

  /// The state before the first scale.
  public func initialState() -> State {
    State(blocks: Array(repeating: BlockState(), count: blocks.count))
  }

  /// Logits of the next scale's tokens.
  ///
  /// - Parameter input: The f̂ so far at the scale's size, `[B, n_k, Cvae]`; nil at the first scale.
  /// - Returns: `[B, n_k, V]`, float32.
  public func step(_ input: Tensor?, condition: Condition, state: inout State) -> Tensor {
    let schedule = configuration.schedule
    let range = schedule.ranges[state.scale]
    let isLast = state.scale == schedule.count - 1
    var x = embed(input, range, condition)
    for (index, block) in blocks.enumerated() {
      x = block(
        x, condition.blocks[index], scales: [0..<range.count], state: &state.blocks[index],
        keepsState: !isLast)
    }
    state.scale += 1
    return logits(x, condition).to(.float32)
  }

  /// Logits of all tokens at once, when all are known; a gradient can be asked for.
  ///
  /// - Parameters:
  ///   - teacherInput: `[B, L − n_0, Cvae]`
  ///   - scales: How many scales to compute, the coarsest; nil for all, and L counts their tokens.
  ///   - recomputing: Where to take a block's parameters from once more, to compute the block again
  ///     in the backward pass instead of keeping what it computed: a third more arithmetic for a
  ///     fraction of the memory.
  /// - Returns: `[B, L, V]`, float32.
  public func callAsFunction(
    _ teacherInput: Tensor, condition: Condition, scales: Int? = nil,
    recomputing: Parameters? = nil
  ) -> Tensor {
    rawLogits(teacherInput, condition: condition, scales: scales, recomputing: recomputing)
      .to(.float32)
  }

  /// The same in the type that the model computes in.
  ///
  /// - Parameter fused: Whether a GPU may use the kernels of training where they fit.
  public func rawLogits(
    _ teacherInput: Tensor, condition: Condition, scales: Int? = nil,
    recomputing: Parameters? = nil, fused: Bool = true
  ) -> Tensor {
    let ranges = Array(configuration.schedule.ranges.prefix(scales ?? .max))
    let rest = ranges[0].upperBound..<ranges[ranges.count - 1].upperBound
    var x = embed(nil, ranges[0], condition)
    if !rest.isEmpty {
      let input = teacherInput.slice(1, 0..<rest.count)
      x = .concatenate([x, embed(input, rest, condition)], axis: 1)
    }
    let fused = fused ? FusedTraining.make(x, configuration, scales: ranges) : nil
    if let fused, recomputing == nil {
      var stream = TrainedStream(x)
      for (block, modulations) in zip(blocks, condition.blocks) {
        stream = fused(block, stream, modulations)
      }
      return head(
        fused.kernels.finalNorm(
          stream, onePlusScale: condition.headScale, shift: condition.headShift))
    }
    for (index, block) in blocks.enumerated() {
      let modulations = condition.blocks[index]
      if let recomputing {
        x = Block.recomputed(x, modulations, scales: ranges, fused: fused) {
          Block(recomputing / "blocks" / index, configuration)
        }
      } else {
        x = block(x, modulations, scales: ranges)
      }
    }
    return logits(x, condition)
  }

  private func embed(_ input: Tensor?, _ range: Range<Int>, _ condition: Condition) -> Tensor {
    let positions = positions.slice(1, range)
    guard let input else { return condition.embedding.unsqueeze(1) + start + positions }
    return wordEmbedding(input.to(positions.dtype)) + positions
  }

  private func logits(_ x: Tensor, _ condition: Condition) -> Tensor {
    head(x.modulatedNorm(onePlusScale: condition.headScale, shift: condition.headShift))
  }
}
