import CUDAKernels
import Foundation
import Testing
import Torch
import TorchTestSupport

@testable import MVAR
@testable import StateSpace

// Each kernel of training against the readable path and its recorded gradient, both in float32 on the CPU, on numbers
// that 16 bits hold exactly. They run where a GPU is.

/// The same numbers on the GPU in a type, and as a leaf in float32 on the CPU.
private struct Pair {
  let half: Tensor
  let leaf: Tensor

  init(_ shape: Int..., seed: UInt64, _ dtype: DType, scale: Double = 1, offset: Double = 0) {
    self.init((Tensor.randn(shape, seed: seed) * scale + offset), dtype)
  }

  init(_ numbers: Tensor, _ dtype: DType) {
    (half, leaf) = withoutGradient {
      let half = numbers.to(dtype, device: gpu, copy: true)
      return (half, half.to(.float32, device: .cpu, copy: true))
    }
    leaf.setRequiresGradient()
  }
}

/// Within some roundings of the largest number: results are rounded once, and sums are of numbers rounded once or twice.
private func expectClose(
  _ found: Tensor, _ expected: Tensor, _ dtype: DType, roundings: Double, _ name: Comment,
  location: SourceLocation = #_sourceLocation
) throws {
  let largest = try expected.detached().absolute().reshape(-1).max(0).item()
  let distance = try distance(readable(found), expected.detached())
  let allowed = roundings * (dtype == .bfloat16 ? 0x1p-8 : 0x1p-11) * max(largest, 1e-3)
  #expect(
    distance <= allowed, "\(name): \(distance) > \(allowed) of \(largest)", sourceLocation: location
  )
}

@Suite(.serialized, .enabled(if: hasGPU, "needs a GPU"))
struct TrainingKernelsTests {
  @Test(
    arguments: types,
    [
      (1, 1, 2), (2, 5, 2), (1, 63, 4), (2, 64, 2), (1, 65, 6), (3, 130, 2), (2, 257, 4),
      (1, 680, 8), (2, 680, 32),
    ])
  func scansWholeSequences(_ dtype: DType, _ shape: (Int, Int, Int)) throws {
    let (R, n, H) = shape
    let D = 64 * H
    try withTorchErrors {
      let kernels = try TrainingKernels.shared(dtype)
      let projected = Pair(R, n, 2 * D + 128 + H, seed: 1, dtype)
      let convWeight = Pair(D + 128, 1, 4, seed: 2, .float32, scale: 0.5)
      let convBias = Pair(D + 128, seed: 3, .float32, scale: 0.1)
      let dtBias = Pair(H, seed: 4, .float32, offset: -2)
      let a = Pair(-(Tensor.randn([H], seed: 5).exp() * 3), .float32)
      let d = Pair(H, seed: 6, .float32)
      let small = [convWeight, convBias, dtBias, a, d]
      let weights = MambaScanWeights(
        convWeight: convWeight.half.reshape(-1, 4), convBias: convBias.half, dtBias: dtBias.half,
        a: a.half, d: d.half)
      let mixer = Mamba2Mixer(
        convWeight: convWeight.leaf, convBias: convBias.leaf, dtBias: dtBias.leaf, a: a.leaf,
        d: d.leaf)
      let parts = projected.leaf.split([D, D + 128, H], axis: 2)
      let expected = mixer(xBC: parts[1], dt: parts[2], state: nil, keepsState: false).0
      let y = kernels.scan(projected.half, weights)
      try expectClose(y, expected, dtype, roundings: 4, "y of \(shape)")
      let trace = kernels.scanAgain(projected.half, weights)
      #expect(try trace.y.isEqual(to: y))

      let dy = Pair(R, n, D, seed: 7, dtype)
      let gradients = expected.gradients(
        of: [projected.leaf] + small.map(\.leaf), from: dy.leaf.detached()
      ).map { $0! }
      func found() -> (Tensor, MambaScanGradients) {
        let dProjected = Tensor.zeros(projected.half.shape, dtype: dtype, device: gpu)
        return (
          dProjected,
          kernels.scanGradients(
            dy.half, projected.half, weights, trace, into: dProjected)
        )
      }
      let (dProjected, dSmall) = found()
      // A gradient is a sum over all heads or all tokens; that of dt is a difference of such sums besides.
      let columns = [D, D, 64, 64, H]
      let names = ["z", "x", "B", "C", "dt"]
      for (index, name) in names.enumerated() {
        let start = columns[..<index].reduce(0, +)
        let range = start..<start + columns[index]
        try expectClose(
          dProjected.slice(2, range), gradients[0].slice(2, range), dtype,
          roundings: name == "dt" ? 24 : 6, "\(name) of \(shape)")
      }
      for (name, (found, expected)) in zip(
        ["conv1d.weight", "conv1d.bias", "dt_bias", "A", "D"],
        zip(
          [
            dSmall.convWeight.reshape(-1, 1, 4), dSmall.convBias, dSmall.dtBias, dSmall.a, dSmall.d,
          ],
          gradients.dropFirst()))
      {
        try expectClose(
          found, expected, dtype, roundings: name == "dt_bias" || name == "A" ? 24 : 6,
          "\(name) of \(shape)")
      }
      let (again, smallAgain) = found()
      #expect(try again.isEqual(to: dProjected))
      #expect(try smallAgain.a.isEqual(to: dSmall.a))
      #expect(try smallAgain.convWeight.isEqual(to: dSmall.convWeight))
    }
  }

  @Test(
    arguments: types,
    [
      (1, 1, 64, true), (2, 45, 128, true), (2, 45, 128, false), (3, 7, 1024, true),
      (2, 681, 1536, true), (1, 21, 2304, false),
    ])
  func normalizesTheStream(_ dtype: DType, _ shape: (Int, Int, Int, Bool)) throws {
    let (R, n, C, adds) = shape
    try withTorchErrors {
      let kernels = try TrainingKernels.shared(dtype)
      let x = Pair(R, n, C, seed: 10, dtype, scale: 2, offset: 0.3)
      let y = Pair(R, n, C, seed: 11, dtype)
      let gain = Pair(R, C, seed: 12, dtype)
      let (scale, shift) = (Pair(R, C, seed: 13, dtype, offset: 1), Pair(R, C, seed: 14, dtype))
      let rows = ModulationRows(onePlusScale: scale.half, shift: shift.half)
      let added = adds ? (y: y.half, gain: gain.half) : nil
      let norm = kernels.residualNorm(x.half, adding: added, rows)
      let sum =
        adds ? x.leaf + y.leaf * gain.leaf.unsqueeze(1) : x.leaf
      try expectClose(norm.sum, sum, dtype, roundings: 1, "sum of \(shape)")
      // From the sum as it was rounded, as a step has it.
      let rounded = Pair(readable(norm.sum), .float32)
      let leaf = rounded.leaf
      let out =
        leaf.layerNorm(epsilon: 1e-6) * scale.leaf.unsqueeze(1) + shift.leaf.unsqueeze(1)
      try expectClose(norm.out, out, dtype, roundings: 2, "out of \(shape)")
      #expect(try kernels.normalizedAgain(norm.sum, rows).isEqual(to: norm.out))

      for hasSum in [true, false] {
        let (dSum, dOut) = (Pair(R, n, C, seed: 15, dtype), Pair(R, n, C, seed: 16, dtype))
        let found = kernels.residualNormGradients(
          hasSum ? dSum.half : nil, dOut.half, sum: norm.sum, statistics: norm.statistics,
          adding: added, onePlusScale: scale.half)
        let expected = out.gradients(
          of: [leaf, scale.leaf, shift.leaf], from: dOut.leaf.detached(), keepingGraph: true
        ).map { $0! }
        let dx = hasSum ? expected[0] + dSum.leaf.detached() : expected[0]
        try expectClose(found.x, dx, dtype, roundings: 2, "x of \(shape)")
        try expectClose(found.onePlusScale, expected[1], dtype, roundings: 2, "1 + s of \(shape)")
        try expectClose(found.shift, expected[2], dtype, roundings: 2, "b of \(shape)")
        #expect((found.y != nil) == adds && (found.gain != nil) == adds)
        guard adds else { continue }
        let (dy, dGain) = (
          dx * gain.leaf.detached().unsqueeze(1), (dx * y.leaf.detached()).sum(1)
        )
        try expectClose(found.y!, dy, dtype, roundings: 2, "y of \(shape)")
        try expectClose(found.gain!, dGain, dtype, roundings: 2, "γ of \(shape)")
      }
    }
  }

  @Test(arguments: types, [(1, 1, 2), (2, 33, 6), (1, 70, 32), (2, 5, 48)])
  func normalizesWhatIsGated(_ dtype: DType, _ shape: (Int, Int, Int)) throws {
    let (R, n, H) = shape
    let D = 64 * H
    try withTorchErrors {
      let kernels = try TrainingKernels.shared(dtype)
      let (y, projected) = (
        Pair(R, n, D, seed: 20, dtype), Pair(R, n, 2 * D + 128 + H, seed: 21, dtype)
      )
      let (weight, dOut) = (Pair(D, seed: 22, dtype), Pair(R, n, D, seed: 23, dtype))
      let z = projected.leaf.slice(2, 0..<D)
      let expected = (y.leaf * z.silu()).rmsNorm(weight.leaf, epsilon: 1e-5)
      let out = kernels.gatedNorm(y.half, projected.half, weight: weight.half)
      try expectClose(out, expected, dtype, roundings: 2, "out of \(shape)")
      let dProjected = Tensor.zeros(projected.half.shape, dtype: dtype, device: gpu)
      let found = kernels.gatedNormGradients(
        dOut.half, y.half, projected.half, weight: weight.half, into: dProjected)
      let gradients = expected.gradients(
        of: [y.leaf, projected.leaf, weight.leaf], from: dOut.leaf.detached()
      ).map { $0! }
      #expect(try distance(readable(found.out), readable(out)) <= 0x1p-6)
      try expectClose(found.y, gradients[0], dtype, roundings: 2, "y of \(shape)")
      try expectClose(dProjected, gradients[1], dtype, roundings: 2, "z of \(shape)")
      try expectClose(found.weight, gradients[2], dtype, roundings: 3, "weight of \(shape)")
    }
  }

  @Test(
    arguments: types,
    [
      (1, 1, [1], true), (2, 3, [1, 4, 9, 16], false),
      (3, 2, [1, 4, 9, 16, 25, 36, 64, 100, 169, 256], true), (1, 2, [5, 576, 1024], true),
      (2, 1, [100, 257], false),
    ])
  func attendsInsideSegments(_ dtype: DType, _ shape: (Int, Int, [Int], Bool)) throws {
    let (R, H, lengths, isUnit) = shape
    let n = lengths.reduce(0, +)
    try withTorchErrors {
      let kernels = try TrainingKernels.shared(dtype)
      let raw = Pair(R, n, 192 * H, seed: 30, dtype)
      let scales = Pair(Tensor.randn([H], seed: 31).exp() * 3, .float32)
      let constant = isUnit ? 1 : 0.25 / 8
      let parts = raw.leaf.reshape(R, n, 3, H, 64).permute(2, 0, 3, 1, 4)
      var (q, k, v) = (parts[0], parts[1], parts[2])
      if isUnit {
        q = q.normalized() * scales.leaf.reshape(1, H, 1, 1)
        k = k.normalized()
      }
      var start = 0
      let outputs = lengths.map { length in
        let range = start..<start + length
        start += length
        return q.slice(2, range).attention(k.slice(2, range), v.slice(2, range), scale: constant)
      }
      let expected = Tensor.concatenate(outputs, axis: 2).transpose(1, 2).reshape(R * n, H, 64)

      let qkv = raw.half.clone()
      let unit =
        isUnit
        ? (scales: scales.half, lengths: kernels.makeUnitHeadsInPlace(qkv, scales: scales.half))
        : nil
      let views = qkv.reshape(-1, 3, H, 64)
      let (a, b, c) = (views.select(1, 0), views.select(1, 1), views.select(1, 2))
      let segments = Segments(lengths, sequences: R, device: gpu)
      let attention = FlashAttention(a, b, c, segments: segments, scale: constant)
      // Scores are sums of rounded products, which the softmax then multiplies by the scale.
      try expectClose(attention.out, expected, dtype, roundings: 16, "out of \(shape)")
      let dOut = Pair(R * n, H, 64, seed: 32, dtype)
      func found() -> (qkv: Tensor, sum: Tensor, scales: Tensor?) {
        let (dq, dk, dv) = attention.gradients(dOut.half, a, b, c)
        return kernels.qkvGradient(dq, dk, dv, qkv: qkv, unit: unit)
      }
      let first = found()
      let gradients = expected.gradients(
        of: [raw.leaf, scales.leaf], from: dOut.leaf.detached())
      let (dFound, dExpected) = (
        first.qkv.reshape(R, n, 3, H * 64), gradients[0]!.reshape(R, n, 3, H * 64)
      )
      for (index, name) in ["q", "k", "v"].enumerated() {
        // A single key has no gradient of scores at all, which rounding does not see.
        guard lengths != [1] || name == "v" else { continue }
        try expectClose(
          dFound.select(2, index), dExpected.select(2, index), dtype, roundings: 32,
          "\(name) of \(shape)")
      }
      try expectClose(
        first.sum, readable(first.qkv).sum(0, 1), dtype, roundings: 8, "sum of \(shape)")
      #expect((first.scales != nil) == isUnit)
      if isUnit, lengths != [1] {
        try expectClose(
          first.scales!, gradients[1]!, dtype, roundings: 32, "scales of \(shape)")
      }
      #expect(try found().qkv.isEqual(to: first.qkv))
    }
  }

  @Test(arguments: types, [(1, 8, 0), (5, 512, 0.1), (70, 4096, 0), (3, 5000, 0.3)])
  func losesByCrossEntropy(_ dtype: DType, _ shape: (Int, Int, Double)) throws {
    let (T, V, smoothing) = shape
    try withTorchErrors {
      let logits = Pair(T, V, seed: 40, dtype, scale: 3)
      let targets = Tensor.of((0..<T).map { Int64($0 * 37 % V) })
      let expected = logits.leaf.crossEntropy(targets, smoothing: smoothing)
      let half = logits.half
      half.setRequiresGradient()
      let found = TokenLosses.of(half, targets.to(gpu), smoothing: smoothing)
      // Sums in float32 of numbers that are exact.
      #expect(try distance(readable(found), expected.detached()) < 1e-3)
      #expect(found.dtype == .float32)
      let weights = Tensor.randn([T], seed: 41)
      let gradient = (found * weights.to(gpu)).sum(0).gradients(of: [half])[0]!
      let exact = (expected * weights).sum(0).gradients(of: [logits.leaf])[0]!
      try expectClose(gradient, exact, dtype, roundings: 1, "logits of \(shape)")
    }
  }

  @Test(arguments: types, [(1, 8), (3, 5000), (130, 512), (65, 4096)])
  func goesBackThroughGELU(_ dtype: DType, _ shape: (Int, Int)) throws {
    let (n, N) = shape
    try withTorchErrors {
      let kernels = try TrainingKernels.shared(dtype)
      let (x, dOut) = (
        Pair(1, n, N, seed: 50, dtype, scale: 3), Pair(1, n, N, seed: 51, dtype)
      )
      let expected = x.leaf.geluTanh()
      let (dx, sum, out) = kernels.geluGradient(dOut.half.clone(), x.half)
      try expectClose(out, expected, dtype, roundings: 1, "value")
      let gradient = expected.gradients(of: [x.leaf], from: dOut.leaf.detached())[0]!
      try expectClose(dx, gradient, dtype, roundings: 1, "gradient")
      try expectClose(sum, gradient.sum(0, 1), dtype, roundings: 2, "sum")
    }
  }
}

/// A whole model: its gradients by the fused path against those of the readable one.
@Suite(.serialized, .enabled(if: hasGPU, "needs a GPU"))
struct FusedTrainingTests {
  private func configuration(
    _ kind: TransformerConfiguration.Kind, _ norm: TransformerConfiguration.AttentionNorm
  ) -> TransformerConfiguration {
    var configuration = TransformerConfiguration(kind: kind, depth: 3)
    (configuration.width, configuration.hidden) = (128, 512)
    (configuration.classes, configuration.vocabulary) = (10, 512)
    (configuration.attentionNorm, configuration.sharedAdaLN) = (norm, norm == .scaled)
    return configuration
  }

  /// Losses of each token and gradients of all parameters.
  private func run(
    _ configuration: TransformerConfiguration, _ dtype: DType, fused: Bool, recomputes: Bool = false
  ) throws -> (losses: Tensor, gradients: [(name: String, gradient: Tensor)]) {
    let leaves = Leaves()
    func scope() -> Parameters {
      Parameters(leaves, dtype: dtype, device: gpu, purpose: .training)
    }
    let model = try Transformer(scope(), configuration: configuration)
    let (B, L) = (3, configuration.schedule.tokenCount)
    let input = Tensor.randn([B, L - 1, configuration.codeChannels], seed: 60).to(gpu)
    // Some left out, the others scaled.
    let sublayers = configuration.sublayers
    let factors = Tensor.of(
      (0..<3 * sublayers * B).map { [1, 0, 2, 1.5, 1][$0 % 5] as Float }, shape: [3, sublayers, B]
    ).to(gpu)
    let condition = model.condition(.of([1, 4, 10], device: gpu)).scalingSublayers(by: factors)
    let logits = model.rawLogits(
      input, condition: condition, recomputing: recomputes ? scope() : nil, fused: fused)
    let targets = Tensor.of((0..<B * L).map { Int64($0 * 91 % 512) }, device: gpu)
    let losses =
      fused
      ? TokenLosses.of(logits.reshape(B * L, -1), targets, smoothing: 0)
      : logits.to(.float32).reshape(B * L, -1).crossEntropy(targets)
    losses.mean(0).backward()
    return (
      losses.detached(), leaves.named.compactMap { name, leaf in leaf.gradient.map { (name, $0) } }
    )
  }

  /// The leaves' gradients differ from float32's by no more than those of the readable path in the same 16 bits do.
  @Test(
    arguments: [
      (.mvar, DType.bfloat16, .l2), (.mvar, .float16, .l2), (.mvar, .bfloat16, .scaled),
      (.var, .bfloat16, .l2), (.var, .float16, .scaled),
    ] as [(TransformerConfiguration.Kind, DType, TransformerConfiguration.AttentionNorm)])
  func givesTheReadableGradients(
    _ model: TransformerConfiguration.Kind, _ dtype: DType,
    norm: TransformerConfiguration.AttentionNorm
  ) throws {
    try withTorchErrors {
      let configuration = configuration(model, norm)
      let exact = try run(configuration, .float32, fused: false)
      let plain = try run(configuration, dtype, fused: false)
      let fused = try run(configuration, dtype, fused: true)
      let again = try run(configuration, dtype, fused: true)
      let recomputed = try run(configuration, dtype, fused: true, recomputes: true)
      func error(_ a: Tensor, _ b: Tensor) throws -> Double {
        try [a.to(.float32) - b].norms().item()
      }
      #expect(
        try error(fused.losses, exact.losses) <= 1.5 * error(plain.losses, exact.losses) + 1e-3)
      #expect(fused.gradients.map(\.name) == exact.gradients.map(\.name))
      // Of four numbers one rounding may be lucky: what 16 bits cost is the most of all blocks' gradients of this kind.
      var unavoidable: [Substring: Double] = [:]
      for (index, (name, expected)) in exact.gradients.enumerated() {
        let error = try error(plain.gradients[index].gradient, expected)
        unavoidable[kind(name), default: 0] = max(
          unavoidable[kind(name)] ?? 0, try error / [expected].norms().item())
      }
      for (index, (name, expected)) in exact.gradients.enumerated() {
        let found = fused.gradients[index].gradient
        let allowed =
          try (2 * unavoidable[kind(name)]! + 0.01) * [expected].norms().item()
        #expect(try error(found, expected) <= allowed, "\(name)")
        #expect(try found.isEqual(to: again.gradients[index].gradient), "\(name)")
        #expect(
          try error(recomputed.gradients[index].gradient, expected) <= allowed,
          "\(name), computed again")
      }
    }
  }

  /// A parameter's name without the block that it is of.
  private func kind(_ name: String) -> Substring {
    name.hasPrefix("blocks.") ? name.drop { $0 != "." }.dropFirst().drop { $0 != "." } : name[...]
  }

  /// Random parameters in float32, each a leaf.
  private final class Leaves: ParameterSource {
    private let random = RandomSource(seed: 61)
    private(set) var named: [(String, Tensor)] = []
    var names: [String]? { nil }
    func shape(of name: String, expected: [Int]) -> [Int]? { expected }
    func tensor(_ name: String, shape: [Int], dtype: DType, device: Device) throws -> Tensor {
      if let known = named.first(where: { $0.0 == name }) { return known.1.to(dtype) }
      let leaf = try withoutGradient {
        try random.tensor(name, shape: shape, dtype: .float32, device: device)
      }
      leaf.setRequiresGradient()
      named.append((name, leaf))
      return leaf.to(dtype)
    }
  }
}
