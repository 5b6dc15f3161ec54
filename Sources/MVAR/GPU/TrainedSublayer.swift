import CUDAKernels
import Torch

// R sequences, n tokens of each, C width.

/// The residual stream between two sublayers.
struct TrainedStream {
  /// `[R, n, C]`, to which ``added`` has still to be added.
  let x: Tensor
  /// What the sublayer before gave, y `[R, n, C]`, and its gains `[R, C]`.
  let added: (y: Tensor, gain: Tensor)?

  init(_ x: Tensor, added: (y: Tensor, gain: Tensor)? = nil) { (self.x, self.added) = (x, added) }

  /// The stream with everything added.
  var complete: Tensor {
    added.map { x.adding($0.y, times: $0.gain.unsqueeze(1)) } ?? x
  }
}

/// One forward pass of what stands between the norm in front of a sublayer and its gain.
struct SublayerPass {
  let y: Tensor
  /// From the gradient of y and the normalised input, made once more: the gradients of that input and of the weights.
  let gradients: (_ dy: Tensor, _ input: Tensor) -> (input: Tensor, weights: [Tensor?])
}

extension ModulationRows {
  /// Of `[R, 1, C]` each.
  init(_ modulation: Modulation) {
    self.init(
      onePlusScale: modulation.onePlusScale.squeeze(1).contiguous(),
      shift: modulation.shift.squeeze(1).contiguous())
  }

  func detached() -> ModulationRows {
    ModulationRows(onePlusScale: onePlusScale.detached(), shift: shift.detached())
  }
}

extension TrainingKernels {
  /// A sublayer together with the residual connection of the one before it and with its norm, as one operation with a
  /// gradient of its own.
  ///
  /// Of what it computes it keeps the stream, and what `body` keeps. The normalised input is made again when its
  /// gradient is wanted: one pass over memory, where keeping it for all sublayers would take a tenth of a step's memory.
  ///
  /// - Parameters:
  ///   - weights: Whatever `body` depends on besides its input; it gets them without their history.
  ///   - body: From the normalised input `[R, n, C]`.
  func sublayer(
    _ stream: TrainedStream, _ modulation: Modulation, weights: [Tensor],
    body: (_ input: Tensor, _ weights: [Tensor]) -> SublayerPass
  ) -> TrainedStream {
    let rows = ModulationRows(modulation)
    let x = stream.x.contiguous()
    let inputs =
      [x, rows.onePlusScale, rows.shift] + (stream.added.map { [$0.y, $0.gain] } ?? []) + weights
    let keptRows = rows.detached()
    let added = stream.added.map { (y: $0.y.detached(), gain: $0.gain.detached()) }
    let (norm, pass) = withoutGradient {
      let norm = residualNorm(x.detached(), adding: added, keptRows)
      return (norm, body(norm.out, weights.map { $0.detached() }))
    }
    let (sum, statistics, gradients) = (norm.sum.detached(), norm.statistics, pass.gradients)
    let outputs = withCustomGradient(of: inputs) {
      // Without something to add the sum is the input, which goes on by itself.
      added == nil ? [pass.y] : [norm.sum, pass.y]
    } backward: { [self] found in
      let dy =
        found[found.count - 1]?.contiguous()
        ?? .zeros(sum.shape, dtype: dtype, device: sum.device)
      let (dInput, dWeights) = gradients(dy, normalizedAgain(sum, keptRows))
      let norm = residualNormGradients(
        added == nil ? nil : found[0]?.contiguous(), dInput, sum: sum, statistics: statistics,
        adding: added, onePlusScale: keptRows.onePlusScale)
      return [norm.x, norm.onePlusScale, norm.shift]
        + (added == nil ? [] : [norm.y, norm.gain]) + dWeights
    }
    return TrainedStream(
      outputs.count == 1 ? x : outputs[0],
      added: (outputs[outputs.count - 1], modulation.gain.squeeze(1).contiguous()))
  }

  /// LN(x)(1 + s) + b of the complete stream, `[R, n, C]`.
  func finalNorm(_ stream: TrainedStream, onePlusScale: Tensor, shift: Tensor) -> Tensor {
    let modulation = Modulation(gain: shift, onePlusScale: onePlusScale, shift: shift)
    return sublayer(stream, modulation, weights: []) { input, _ in
      SublayerPass(y: input) { dy, _ in (dy, []) }
    }.added!.y
  }
}

/// The gradients of x · weightᵀ + bias: of x `[…, K]`, and of weight `[N, K]` and bias `[N]`.
struct LinearGradients {
  let weight: Tensor
  let bias: Tensor

  /// - Parameters:
  ///   - dy: `[R, n, N]`, contiguous.
  ///   - x: `[R, n, K]`, contiguous.
  init(_ dy: Tensor, _ x: Tensor) {
    let rows = dy.reshape(-1, dy.length(2))
    weight = rows.transposed.matmul(x.reshape(-1, x.length(2)))
    bias = rows.sum(0)
  }

  static func weight(_ dy: Tensor, _ x: Tensor) -> Tensor {
    dy.reshape(-1, dy.length(2)).transposed.matmul(x.reshape(-1, x.length(2)))
  }
}
