import Torch

// B batch, L tokens, H heads, P head dimension, N state.

/// What the recurrence of a Mamba-2 layer reads: h ← h·exp(dt·A) + dt·B⊗x; y = C·h.
///
/// All in float32: the decays are products of many factors near 1.
public struct ScanInput {
  /// `[B, L, H, P]`
  public var x: Tensor
  /// Step sizes after softplus, `[B, L, H]`.
  public var dt: Tensor
  /// Negative decay rates, `[H]`.
  public var a: Tensor
  /// `[B, L, N]`, shared by all heads.
  public var b: Tensor
  /// `[B, L, N]`, shared by all heads.
  public var c: Tensor

  public init(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) {
    (self.x, self.dt, self.a, self.b, self.c) = (x, dt, a, b, c)
  }
}

/// The recurrence token by token, as Mamba-2's paper (arXiv 2405.21060, eq. 2) writes it.
///
/// - Parameter state: h before the first token, `[B, H, P, N]`; nil is zero.
/// - Returns: y `[B, L, H, P]` and h after the last token.
public func selectiveScanReference(_ input: ScanInput, state: Tensor? = nil) -> (
  y: Tensor, state: Tensor
) {
  let (B, L, H, P) = input.x.shape4
  let N = input.b.length(2)
  var h = state ?? Tensor.zeros([B, H, P, N], device: input.x.device)
  var outputs: [Tensor] = []
  for t in 0..<L {
    let dt = input.dt.select(1, t)  // [B, H]
    let decay = (dt * input.a).exp().reshape(B, H, 1, 1)
    let x = (input.x.select(1, t) * dt.unsqueeze(2)).unsqueeze(3)  // [B, H, P, 1]
    h = h * decay + x * input.b.select(1, t).reshape(B, 1, 1, N)
    outputs.append((h * input.c.select(1, t).reshape(B, 1, 1, N)).sum(3))
  }
  return (Tensor.stack(outputs, axis: 1), h)
}

/// The same as ``selectiveScanReference(_:state:)`` in matrix products, chunk after chunk.
///
/// Inside a chunk y = ((C Bᵀ) ∘ decay) (dt·x), a masked product (arXiv 2405.21060, section 6), plus
/// what the incoming state contributes.
///
/// - Parameter chunk: Tokens a product; longer ones do more arithmetic, shorter ones more steps.
/// - Parameter needsState: Whether the state after the last token is of use.
public func selectiveScan(
  _ input: ScanInput, state: Tensor? = nil, chunk: Int = 64, needsState: Bool = true
) -> (y: Tensor, state: Tensor?) {
  let L = input.x.length(1)
  var state = state
  var outputs: [Tensor] = []
  for start in stride(from: 0, to: L, by: chunk) {
    let end = min(start + chunk, L)
    let part = input.slice(start..<end)
    let (y, next) = scanChunk(part, state: state, needsState: needsState || end < L)
    outputs.append(y)
    state = next
  }
  return (outputs.count == 1 ? outputs[0] : .concatenate(outputs, axis: 1), state)
}

private func scanChunk(_ input: ScanInput, state: Tensor?, needsState: Bool) -> (
  y: Tensor, state: Tensor?
) {
  let (B, L, H, P) = input.x.shape4
  let N = input.b.length(2)
  let logDecay = (input.dt * input.a).cumulativeSum(1)  // up to and with each token: [B, L, H]
  let x = input.x * input.dt.unsqueeze(3)  // [B, L, H, P]

  // Decay from token j to token i ≥ j: [B, H, L, L]. Exponents above the diagonal are masked before
  // exp, for they would overflow.
  let byHead = logDecay.transpose(1, 2).contiguous()  // [B, H, L]
  let future = Tensor.full([L, L], -.infinity, device: input.x.device).upperTriangle(diagonal: 1)
  let weights = byHead.unsqueeze(3) - byHead.unsqueeze(2)
  weights.addInPlace(future)
  let decay = weights.exp()
  let products = input.c.matmul(input.b.transposed).unsqueeze(1)
  var y = decayed(products, by: decay).matmul(x.transpose(1, 2)).transpose(1, 2)  // [B, L, H, P]

  // B and C are the same for all heads, so that what concerns the state is one product a row.
  if let state {
    let fromState = input.c.matmul(state.reshape(B, H * P, N).transposed).reshape(B, L, H, P)
    y = y.adding(fromState, times: logDecay.exp().unsqueeze(3))
  }
  guard needsState else { return (y, nil) }

  let last = logDecay.slice(1, (L - 1)..<L)  // [B, 1, H]
  let toEnd = (x * (last - logDecay).exp().unsqueeze(3)).reshape(B, L, H * P)
  var next = toEnd.transposed.matmul(input.b).reshape(B, H, P, N)
  if let state { next = next.adding(state, times: last.exp().reshape(B, H, 1, 1)) }
  return (y, next)
}

/// The product of both, in the memory of `decay` unless a gradient needs that.
private func decayed(_ products: Tensor, by decay: Tensor) -> Tensor {
  if decay.requiresGradient { return decay * products }
  decay.multiplyInPlace(products)
  return decay
}

extension ScanInput {
  fileprivate func slice(_ range: Range<Int>) -> ScanInput {
    ScanInput(
      x: x.slice(1, range), dt: dt.slice(1, range), a: a, b: b.slice(1, range),
      c: c.slice(1, range))
  }
}
