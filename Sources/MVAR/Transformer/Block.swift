import StateSpace
import Torch

/// What one block carries from scale to scale.
public struct BlockState {
  var attention: AttentionCache?
  var mamba: Mamba2State?
}

/// Two linear layers with GELU between them.
struct FeedForward {
  let fc1: Linear
  let fc2: Linear

  init(_ p: Parameters, width: Int, hidden: Int) {
    fc1 = Linear(p / "fc1", width, hidden)
    fc2 = Linear(p / "fc2", hidden, width)
  }

  func callAsFunction(_ x: Tensor) -> Tensor { fc2(fc1(x, activation: .geluTanh)) }
}

/// The scale and shift of one sublayer's input and the gain of its output, `[B, 1, C]` each.
struct Modulation {
  let gain: Tensor
  let onePlusScale: Tensor
  let shift: Tensor

  /// LN(x)(1 + s) + b
  func input(_ x: Tensor) -> Tensor {
    x.modulatedNorm(onePlusScale: onePlusScale, shift: shift)
  }

  /// x + γ y
  func residual(_ x: Tensor, _ y: Tensor) -> Tensor { x.adding(y, times: gain) }

  /// Splits `[B, 3 n, C]`, ordered γ₁…γₙ s₁…sₙ b₁…bₙ, into n modulations.
  static func split(_ parameters: Tensor) -> [Modulation] {
    let count = parameters.length(1) / 3
    let parts = separated(parameters)
    return (0..<count).map {
      Modulation(
        gain: parts[$0], onePlusScale: parts[count + $0] + 1, shift: parts[2 * count + $0])
    }
  }

  /// The parts of `[B, m, C]`, `[B, 1, C]` each, in memory of their own: their gradients are joined once, where that of each
  /// slice would fill the whole with zeros.
  private static func separated(_ parameters: Tensor) -> [Tensor] {
    let (B, count, C) = parameters.shape3
    return withCustomGradient(of: [parameters]) {
      (0..<count).map { parameters.slice(1, $0..<$0 + 1).clone() }
    } backward: { gradients in
      guard let like = gradients.lazy.compactMap({ $0 }).first else { return [nil] }
      let zeros = Tensor.zeros([B, 1, C], dtype: like.dtype, device: like.device)
      return [.concatenate(gradients.map { $0 ?? zeros }, axis: 1)]
    }
  }
}

/// A block of M-VAR or VAR (`AdaLNSelfAttn`, `models/basic_mvar.py`): attention, Mamba-2 in M-VAR,
/// feed-forward; each on an input that the class modulates.
struct Block {
  let attention: Attention
  let mamba: Mamba2?
  let feedForward: FeedForward
  let modulator: Modulator

  /// What turns the class into this block's modulations.
  enum Modulator {
    case own(Linear)
    /// An offset `[1, 1, 3 n, C]` to those that all blocks share.
    case shared(Tensor)
  }

  init(_ p: Parameters, _ configuration: TransformerConfiguration) {
    let C = configuration.width
    let sublayers = configuration.kind == .mvar ? 3 : 2
    attention = Attention(p / "attn", configuration)
    mamba = configuration.kind == .mvar ? Mamba2(p / "mamba", width: C) : nil
    feedForward = FeedForward(p / "ffn", width: C, hidden: configuration.hidden)
    modulator =
      configuration.sharedAdaLN
      ? .shared(p.tensor("ada_gss", 1, 1, 3 * sublayers, C))
      : .own(Linear(p / "ada_lin" / "1", C, 3 * sublayers * C))
  }

  /// - Parameters:
  ///   - condition: SiLU of the class embedding, `[B, C]`.
  ///   - shared: The modulations that all blocks share, `[B, 3 n, C]`, where there are some.
  func modulations(condition: Tensor, shared: Tensor?) -> [Modulation] {
    let (B, C) = condition.shape2
    switch modulator {
    case .own(let linear): return Modulation.split(linear(condition).reshape(B, -1, C))
    case .shared(let offset): return Modulation.split(shared! + offset[0])
    }
  }

  /// - Parameters:
  ///   - x: `[B, L, C]`
  ///   - scales: Where each scale lies in `x`.
  ///   - keepsState: Whether scales will follow.
  func callAsFunction(
    _ x: Tensor, _ modulations: [Modulation], scales: [Range<Int>], state: inout BlockState,
    keepsState: Bool
  ) -> Tensor {
    let (first, last) = (modulations[0], modulations[modulations.count - 1])
    var x = first.residual(
      x, attention(first.input(x), scales: scales, cache: &state.attention))
    if let mamba {
      let second = modulations[1]
      x = second.residual(
        x, mamba(second.input(x), state: &state.mamba, keepsState: keepsState))
    }
    return last.residual(x, feedForward(last.input(x)))
  }
}

extension Block {
  /// The block over whole sequences, from their start.
  func callAsFunction(_ x: Tensor, _ modulations: [Modulation], scales: [Range<Int>]) -> Tensor {
    var state = BlockState()
    return self(x, modulations, scales: scales, state: &state, keepsState: false)
  }

  /// The same, keeping nothing for the backward pass but its inputs.
  ///
  /// - Parameters:
  ///   - fused: Computes the block where a GPU does that fast.
  ///   - makeBlock: Makes the block from its leaves, whose gradients the backward pass adds to.
  static func recomputed(
    _ x: Tensor, _ modulations: [Modulation], scales: [Range<Int>], fused: FusedTraining?,
    makeBlock: @escaping () -> Block
  ) -> Tensor {
    let inputs = [x] + modulations.flatMap { [$0.gain, $0.onePlusScale, $0.shift] }
    let kept = inputs.map { $0.detached() }
    func output(_ inputs: [Tensor]) -> Tensor {
      let modulations = stride(from: 1, to: inputs.count, by: 3).map {
        Modulation(gain: inputs[$0], onePlusScale: inputs[$0 + 1], shift: inputs[$0 + 2])
      }
      let block = makeBlock()
      guard let fused else { return block(inputs[0], modulations, scales: scales) }
      return fused(block, TrainedStream(inputs[0]), modulations).complete
    }
    return withCustomGradient(of: inputs) {
      [output(inputs)]
    } backward: { gradients in
      let leaves = kept.map { $0.detached() }
      for leaf in leaves { leaf.setRequiresGradient() }
      withGradient { output(leaves) }.backward(gradients[0])
      return leaves.map(\.gradient)
    }[0]
  }
}
