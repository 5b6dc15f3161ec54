import StateSpace
import Testing
import Torch
import TorchTestSupport

// B batch, L tokens, H heads, P head dimension, N state; l tokens of a chunk.

/// The gradient of the scan as the GPU's kernel computes it, chunk after chunk from the end
/// (`ssd_training.cu` has the formulas), in plain operations against the recorded recurrence.
@Suite struct ChunkedGradientTests {
  init() throws { try LibTorch.load() }

  @Test(arguments: [(1, 4), (5, 8), (16, 8), (65, 64), (130, 64)])
  func isThatOfTheRecurrence(L: Int, chunk: Int) throws {
    let (B, H, P, N) = (2, 3, 4, 5)
    let leaves = withoutGradient {
      [
        Tensor.randn([B, L, H, P], seed: 1), Tensor.randn([B, L, H], seed: 2).softplus(),
        -Tensor.randn([H], seed: 3).exp(), Tensor.randn([B, L, N], seed: 4),
        Tensor.randn([B, L, N], seed: 5),
      ].map { $0.to(.float64) }
    }
    for leaf in leaves { leaf.setRequiresGradient() }
    let input = ScanInput(x: leaves[0], dt: leaves[1], a: leaves[2], b: leaves[3], c: leaves[4])
    let dy = Tensor.randn([B, L, H, P], seed: 6).to(.float64)
    let expected = selectiveScanReference(input).y.gradients(of: leaves, from: dy)
    let found = withoutGradient { gradients(leaves.map { $0.detached() }, dy, chunk: chunk) }
    for (name, (found, expected)) in zip(["x", "dt", "A", "B", "C"], zip(found, expected)) {
      // A gradient sums over tokens, that of A over all of them, and of a single token it is 0.
      let allowed = try tolerance(.float64, roundings: 1024, of: expected!) + 1e-13
      #expect(try distance(found, expected!) < allowed, "\(name)")
    }
  }

  /// A chunk's tensors, by head: `[B, H, l, …]`.
  private struct Chunk {
    let x, dy, b, c, dt: Tensor
    /// The running sum of dt·A, and its end: `[B, H, l, 1]`, `[B, H, 1, 1]`.
    let log, end: Tensor
  }

  private func chunks(_ tensors: [Tensor], _ dy: Tensor, size: Int) -> [Chunk] {
    let L = dy.length(1)
    return stride(from: 0, to: L, by: size).map { start in
      let range = start..<min(start + size, L)
      let parts = [tensors[0], dy].map { $0.slice(1, range).transpose(1, 2) }
      let dt = tensors[1].slice(1, range).transpose(1, 2).unsqueeze(3)
      let log = (dt * tensors[2].reshape(1, -1, 1, 1)).cumulativeSum(2)
      return Chunk(
        x: parts[0], dy: parts[1], b: tensors[3].slice(1, range).unsqueeze(1),
        c: tensors[4].slice(1, range).unsqueeze(1), dt: dt, log: log,
        end: log.slice(2, range.count - 1..<range.count))
    }
  }

  private func gradients(_ tensors: [Tensor], _ dy: Tensor, chunk: Int) -> [Tensor] {
    let chunks = chunks(tensors, dy, size: chunk)
    let (B, _, H, P) = dy.shape4
    let N = tensors[3].length(2)
    // The state in front of each chunk, [B, H, P, N].
    var states = [Tensor.zeros([B, H, P, N], dtype: .float64)]
    for chunk in chunks.dropLast() {
      let added = (chunk.x * chunk.dt * (chunk.end - chunk.log).exp()).transposed.matmul(chunk.b)
      states.append(states.last! * chunk.end.exp() + added)
    }
    var gradient = Tensor.zeros([B, H, P, N], dtype: .float64)
    var parts: [[Tensor]] = []
    for (chunk, state) in zip(chunks, states).reversed() {
      parts.insert(goBack(chunk, state, &gradient), at: 0)
    }
    func joined(_ index: Int) -> Tensor { .concatenate(parts.map { $0[index] }, axis: 2) }
    let decays = joined(1)  // Σ_{i ≥ t} dl_i, [B, H, L, 1]
    let dt = tensors[1].transpose(1, 2).unsqueeze(3)
    return [
      joined(0).transpose(1, 2),
      (decays * tensors[2].reshape(1, -1, 1, 1) + joined(2)).squeeze(3).transpose(1, 2),
      (decays * dt).sum(0, 2, 3), joined(3).sum(1), joined(4).sum(1),
    ]
  }

  /// - Parameter gradient: Of the state behind the chunk; afterwards of that in front of it.
  /// - Returns: dx, Σ_{i ≥ t} dl_i, what dt gets besides, and each head's part of dB and dC.
  private func goBack(_ chunk: Chunk, _ state: Tensor, _ gradient: inout Tensor) -> [Tensor] {
    let l = chunk.dt.length(2)
    let mask = Tensor.ones([l, l]).lowerTriangle()
    let decay = (chunk.log - chunk.log.transposed) * mask
    let e = decay.exp() * mask
    let s = chunk.c.matmul(chunk.b.transposed)
    let g = chunk.dy.matmul(chunk.x.transposed)
    let dt = chunk.dt.transposed  // [B, H, 1, l], by columns
    let weights = s * e * dt
    let scores = g * e * dt
    let k = (g * s * e).sum(2).unsqueeze(3)
    let toEnd = (chunk.end - chunk.log).exp()
    let fromState = chunk.dy.matmul(state) * chunk.log.exp()
    let rows =
      (g * weights).sum(3, keepingAxes: true) + (fromState * chunk.c).sum(3, keepingAxes: true)
    let toState = chunk.x.matmul(gradient)
    let u = (toState * chunk.b).sum(3, keepingAxes: true) * toEnd
    let dEnd =
      (chunk.dt * u).sum(2, keepingAxes: true)
      + (gradient * state).sum(2, 3, keepingAxes: true) * chunk.end.exp()
    let dl = rows - chunk.dt * (k + u)
    let suffix = dl.sum(2, keepingAxes: true) - dl.cumulativeSum(2) + dl + dEnd
    let dx =
      weights.transposed.matmul(chunk.dy)
      + chunk.b.matmul(gradient.transposed) * chunk.dt * toEnd
    let db = scores.transposed.matmul(chunk.c) + toState * chunk.dt * toEnd
    let dc = scores.matmul(chunk.b) + fromState
    gradient =
      gradient * chunk.end.exp() + (chunk.dy * chunk.log.exp()).transposed.matmul(chunk.c)
    return [dx, suffix, k + u, db, dc]
  }
}
