@testable import CUDAKernels
import Foundation
import Testing
import Torch
import TorchTestSupport

@testable import MVAR
@testable import StateSpace

// Each kernel against the readable path in float32, on numbers that 16 bits hold exactly. They run where a GPU is.

extension Tensor {
  fileprivate func root() -> Tensor { (log() * 0.5).exp() }
  fileprivate func magnitude() -> Tensor { (self * self).root() }
}

@Suite(.serialized, .enabled(if: hasGPU, "needs a GPU"))
struct CUDAKernelsTests {
  @Test(
    arguments: types,
    [
      (1, 1, 64), (3, 5, 200), (2, 17, 1024), (4, 256, 1536), (2, 3, 2304), (64, 66, 1024),
    ])
  func normalizesWithModulation(_ dtype: DType, _ shape: (Int, Int, Int)) throws {
    let (R, n, C) = shape
    try withTorchErrors {
      let kernels = try CUDAKernels.shared(dtype)
      let x = random(R, n, C, seed: 1, dtype)
      let y = random(R, n, C, seed: 2, dtype)
      let more = random(R, n, C, seed: 8, dtype)
      let bias = random(C, seed: 9, dtype)
      let conditions = max(1, R - 1)
      let table = ModulationTable(rows: random(conditions, 6 * C, seed: 3, dtype))
      let squares = random(R, n, 3, seed: 4, .float32).magnitude() + 0.1
      for normalized in [false, true] {
        let stream = x.clone()
        let output = SublayerOutput(
          y: normalized
            ? PartialSums(parts: y.unsqueeze(0))
            : PartialSums(parts: .stack([y, more], axis: 0), bias: bias),
          squares: normalized ? (squares, 7) : nil, table: table, gain: C)
        let found = kernels.modulatedNorm(
          stream, adding: output, table: table, columns: (scale: 2 * C, shift: 5 * C))
        // The last row serves all sequences from there on.
        let rows = Tensor.concatenate(
          (0..<R).map {
            readable(table.rows).slice(0, min($0, conditions - 1)..<min($0, conditions - 1) + 1)
          }, axis: 0)
        func part(_ index: Int) -> Tensor {
          rows.slice(1, index * C..<(index + 1) * C).unsqueeze(1)
        }
        let factor = (readable(squares).sum(2).unsqueeze(2) / 7 + 1e-5).root()
        let added =
          normalized ? readable(y) / factor : readable(y) + readable(more) + readable(bias)
        let sum = readable(x) + part(1) * added
        try expectClose(stream, sum, dtype, roundings: 1)
        let expected = readable(stream).layerNorm(epsilon: 1e-6) * (part(2) + 1) + part(5)
        try expectClose(found, expected, dtype)
      }
    }
  }

  @Test(
    arguments: kernelSets,
    [
      (1, 1, 1), (3, 1, 5), (2, 9, 2), (2, 16, 3), (2, 17, 3), (3, 25, 2), (1, 36, 3), (3, 64, 1),
      (2, 65, 3), (1, 100, 2), (2, 169, 2), (1, 256, 4), (24, 130, 3), (1, 257, 2), (2, 324, 3),
      (1, 576, 1), (1, 1024, 1), (20, 301, 7),
      // So many that few tokens of several heads share a block.
      (40, 1, 4), (40, 9, 5), (20, 16, 8), (40, 25, 4), (70, 64, 2),
    ])
  func attendsInsideAScale(_ set: KernelSet, _ shape: (Int, Int, Int)) throws {
    let (R, n, H) = shape
    let dtype = set.dtype
    try withTorchErrors {
      let kernels = try set.kernels()
      let qkv = random(R, n, 3 * 64 * H, seed: 5, dtype)
      let scales = Tensor.randn([H], seed: 6).magnitude() * 5 + 1
      let found = kernels.attention(qkv, scale: .unitVectors(scales.to(gpu)))
      try expectClose(found, attended(qkv, qkv, scales: scales), dtype)
      // So sharp that the highest score of each query has to be looked for, and what keys are rounded by tells.
      let sharp = scales * 0.5 + 50
      try expectClose(
        kernels.attention(qkv, scale: .unitVectors(sharp.to(gpu))),
        attended(qkv, qkv, scales: sharp), dtype, roundings: 16)
      let plain = kernels.attention(qkv, scale: .constant(0.25 / 8))
      try expectClose(plain, attended(qkv, qkv, scales: nil), dtype)
    }
  }

  /// The sums of one kernel, or of two where one is not to be had; products are of what 16 bits make of attention.
  @Test(
    arguments: kernelSets,
    [
      (2, 1, 16), (2, 4, 24), (2, 9, 24), (2, 12, 16), (2, 16, 16), (2, 16, 24), (2, 25, 24),
      (4, 4, 8), (4, 8, 4), (1, 12, 16), (4, 9, 16), (2, 64, 8), (3, 7, 1),
    ])
  func projectsWhatIsAttended(_ set: KernelSet, _ shape: (Int, Int, Int)) throws {
    let (R, n, H) = shape
    let (dtype, C) = (set.dtype, 64 * H)
    try withTorchErrors {
      let kernels = try set.kernels()
      let qkv = random(R, n, 3 * C, seed: 38, dtype)
      let weight = random(C, C, seed: 39, dtype, scale: 1 / Double(C).squareRoot())
      let bias = random(C, seed: 40, dtype, scale: 0.1)
      let scales = Tensor.randn([H], seed: 41).magnitude() * 5 + 1
      for (scale, attended) in [
        (AttentionScale.unitVectors(scales.to(gpu)), attended(qkv, qkv, scales: scales)),
        (.constant(0.25 / 8), attended(qkv, qkv, scales: nil)),
      ] {
        let sums = kernels.projectedAttention(qkv, scale: scale, weight, bias)
        let total = readable(sums.parts).sum(0) + (sums.bias.map(readable) ?? .zeros([C]))
        let expected = attended.linear(readable(weight), readable(bias))
        try expectClose(total, expected, dtype, roundings: 4, "\(sums.parts.length(0)) parts")
      }
    }
  }

  @Test(arguments: kernelSets, [(2, 2), (1, 1), (30, 5), (0, 2)])
  func attendsToEarlierScales(_ set: KernelSet, _ size: (sequences: Int, heads: Int)) throws {
    let (R, H) = size
    let dtype = set.dtype
    try withTorchErrors {
      let kernels = try set.kernels()
      let counts = [1, 4, 17, 42, 70, 100, 129]
      let total = counts.reduce(0, +)
      let all = random(R, total, 3 * 64 * H, seed: 7, dtype)
      let scales = Tensor.randn([H], seed: 8).magnitude() * 5 + 1
      for isUnit in [true, false] {
        let cache = KeyValueCaches(
          layers: 2, sequences: R, capacity: total + 27, width: 64 * H, dtype: dtype, device: gpu
        ).layers[1]
        // What lies behind the end has no weight.
        cache.rows.fillInPlace(.nan)
        var start = 0
        for count in counts {
          let qkv = all.slice(1, start..<start + count).contiguous()
          let found = kernels.attention(
            qkv, scale: isUnit ? .unitVectors(scales.to(gpu)) : .constant(0.1), cache: cache,
            from: start)
          #expect(found.shape == [R, count, 64 * H])
          if R > 0 {
            let seen = all.slice(1, 0..<start + count)
            let expected = attended(qkv, seen, scales: isUnit ? scales : nil, constant: 0.1)
            try expectClose(found, expected, dtype)
          }
          start += count
        }
      }
    }
  }

  /// Every form, whichever is taken for so many tokens: rings that are refilled and rings that are not, groups without queries
  /// and groups without keys.
  @Test(
    arguments: types,
    [
      (1, 1, 1, 1), (2, 3, 5, 1), (2, 64, 64, 2), (1, 65, 128, 2), (3, 100, 255, 1),
      (2, 63, 257, 3),
      (2, 129, 321, 1), (1, 256, 680, 2), (70, 9, 130, 3), (1, 200, 1001, 1), (1, 1024, 2240, 1),
    ])
  func streamsKeysAndValues(_ dtype: DType, _ shape: (Int, Int, Int, Int)) throws {
    let (R, n, m, H) = shape
    try withTorchErrors {
      let kernels = try CUDAKernels.shared(dtype)
      let all = random(R, m, 3 * 64 * H, seed: 44, dtype)
      let qkv = all.slice(1, m - n..<m).contiguous()
      let scales = Tensor.randn([H], seed: 45).magnitude() * 5 + 1
      for sharpness in [0, 1, 50.0] {
        // Of constants, of what need not be looked at for the highest score, and of what must be.
        let isUnit = sharpness > 0
        let ownScales = sharpness > 1 ? scales * 0.5 + sharpness : scales
        let scale =
          isUnit ? AttentionScale.unitVectors(ownScales.to(gpu)) : .constant(0.25 / 8)
        let roundings = sharpness > 1 ? 16.0 : 4
        let cache = KeyValueCaches(
          layers: 1, sequences: R, capacity: m + 100, width: 64 * H, dtype: dtype, device: gpu
        ).layers[0]
        cache.rows.fillInPlace(.nan)
        _ = kernels.attention(all, scale: scale, cache: cache, from: 0)
        let toEarlier = attended(qkv, all, scales: isUnit ? ownScales : nil)
        let inside = attended(qkv, qkv, scales: isUnit ? ownScales : nil)
        for (form, kernel) in kernels.streamedAttentions {
          try expectClose(
            kernels.attention(
              form, kernel, qkv, to: KeysAndValues(of: cache, count: m), scale),
            toEarlier, dtype, roundings: roundings, "\(form.name), keys of a cache")
          try expectClose(
            kernels.attention(form, kernel, qkv, to: KeysAndValues(of: qkv), scale), inside, dtype,
            roundings: roundings, "\(form.name), keys of a scale")
        }
      }
    }
  }

  @Test(arguments: [(3, 128, 64), (70, 1536, 6320), (1025, 256, 4096)])
  func multipliesIn8Bits(_ shape: (Int, Int, Int)) throws {
    let (M, K, N) = shape
    try withTorchErrors {
      let kernels = try CUDAKernels.shared(.bfloat16)
      guard kernels.multiplies8Bits else { return }
      let x = random(1, M, K, seed: 90, .bfloat16)
      let weight = random(N, K, seed: 91, .bfloat16, scale: 0.05)
      let bias = random(N, seed: 92, .bfloat16)
      let found = kernels.linear(kernels.geluTo8(x), RowsOf8Bits(weight), bias)
      let expected = readable(x).geluTanh().linear(readable(weight), readable(bias))
      // e4m3 has 4 significant bits: a 16th of each factor at the most, and errors that cancel out in sums.
      try expectClose(found, expected, .bfloat16, roundings: 16)
      let table = ModulationTable(rows: random(2, 3 * K, seed: 93, .bfloat16))
      let input = x.reshape(1, M, K)
      let normed = kernels.modulatedNorm(
        input.clone(), adding: nil, table: table, columns: (scale: K, shift: 2 * K))
      let normed8 = kernels.modulatedNormTo8(
        input.clone(), adding: nil, table: table, columns: (scale: K, shift: 2 * K))
      try expectClose(
        kernels.linear(normed8, RowsOf8Bits(weight), bias),
        readable(normed).linear(readable(weight), readable(bias)), .bfloat16, roundings: 16)
    }
  }

  @Test(arguments: types) func emptyBatchesGiveNothing(_ dtype: DType) throws {
    try withTorchErrors {
      let kernels = try CUDAKernels.shared(dtype)
      func empty(_ shape: Int...) -> Tensor { .zeros(shape, dtype: dtype, device: gpu) }
      let table = ModulationTable(rows: empty(1, 6 * 128))
      let output = SublayerOutput(
        y: PartialSums(parts: empty(1, 0, 5, 128)), table: table, gain: 0)
      #expect(
        kernels.modulatedNorm(empty(0, 5, 128), adding: output, table: table, columns: (0, 128))
          .shape == [0, 5, 128])
      #expect(kernels.attention(empty(0, 5, 384), scale: .constant(1)).shape == [0, 5, 128])
      let product = kernels.linear(empty(0, 5, 128), empty(64, 128), nil)
      #expect(product.shape == [0, 5, 64])
      let sums = kernels.linearInParts(empty(0, 5, 128), empty(64, 128), nil)
      #expect(Array(sums.parts.shape.dropFirst()) == [0, 5, 64])
      let tokens = try kernels.drawTokens(
        empty(0, 5, 4096), seeds: .zeros([0], dtype: .int64, device: gpu),
        settings: .zeros([0, 3], device: gpu), progress: 1, domain: 0)
      #expect(tokens.shape == [0, 5])
    }
  }

  private func attended(
    _ queries: Tensor, _ keys: Tensor, scales: Tensor?, constant: Double = 0.25 / 8
  ) -> Tensor {
    func parts(_ x: Tensor) -> [Tensor] {
      let (R, n, width) = x.shape3
      let heads = readable(x).reshape(R, n, 3, width / 192, 64).permute(2, 0, 3, 1, 4)
      return (0..<3).map { heads[$0] }
    }
    var (q, k, v) = (parts(queries)[0], parts(keys)[1], parts(keys)[2])
    if let scales { (q, k) = (q.normalized() * scales.reshape(1, -1, 1, 1), k.normalized()) }
    let (R, n, width) = queries.shape3
    return q.attention(k, v, scale: scales == nil ? constant : 1).transpose(1, 2)
      .reshape(R, n, width / 3)
  }

  /// Few sequences are scanned at once, many in chunks.
  @Test(arguments: kernelSets, [(64, 3), (192, 3), (64, 70), (256, 18), (64, 40)])
  func scansLikeTheMambaLayer(_ set: KernelSet, _ size: (width: Int, sequences: Int)) throws {
    let (width, R) = size
    let dtype = set.dtype
    try withTorchErrors {
      let kernels = try set.kernels()
      let layer = Mamba2(
        Parameters(RandomSource(seed: 9), dtype: .float32, device: .cpu), width: width)
      let weights = MambaScanWeights(
        convWeight: layer.convWeight.reshape(-1, 4).to(gpu), convBias: layer.convBias.to(gpu),
        dtBias: layer.dtBias.to(gpu), a: layer.a.to(gpu), d: layer.d.to(gpu))
      let mixer = Mamba2Mixer(
        convWeight: layer.convWeight, convBias: layer.convBias, dtBias: layer.dtBias, a: layer.a,
        d: layer.d)
      let state = MambaScanStates(
        layers: 2, sequences: R, inner: layer.inner, dtype: dtype, device: gpu
      ).layers[1]
      var expectedState: Mamba2State?
      let counts = [1, 4, 2, 25, 16, 64, 65, 130, 256, 13, 100]
      for (scale, n) in counts.enumerated() {
        let x = Tensor.randn([R, n, width], seed: UInt64(10 + scale))
        // Both get what the product rounds. The norm behind the scan is no part of this: of thousands of tokens some are
        // so short that it makes a thousandth of an input a hundredth of the output.
        let projected = layer.inProj(x).to(dtype)
        let keepsState = scale < counts.count - 1
        let (y, squares) = kernels.mambaScan(
          projected.to(gpu), weights, state: state, scale: scale, keepsState: keepsState)
        let parts = projected.to(.float32).split(
          [layer.inner, layer.inner + 128, layer.heads], axis: 2)
        let mixed: Tensor
        (mixed, expectedState) = mixer(
          xBC: parts[1], dt: parts[2], state: expectedState, keepsState: keepsState)
        try expectClose(y, mixed * parts[0].silu(), dtype, roundings: 8, "scale \(scale)")
        let found = readable(y).reshape(R, n, layer.heads, 64)
        try expectClose(
          squares, (found * found).sum(3), dtype, roundings: 2,
          "squares of scale \(scale)")
      }
    }
  }

  /// A first scale of one token that is looked up leaves what its scan leaves.
  @Test(arguments: types, [1, 70])
  func keepsAFirstTokenAsTheScanDoes(_ dtype: DType, sequences R: Int) throws {
    let (layers, classes, width) = (3, 5, 192)
    try withTorchErrors {
      let kernels = try CUDAKernels.shared(dtype)
      let weights = (0..<layers).map { index in
        let layer = Mamba2(
          Parameters(RandomSource(seed: UInt64(9 + index)), dtype: .float32, device: .cpu),
          width: width)
        return MambaScanWeights(
          convWeight: layer.convWeight.reshape(-1, 4).to(gpu), convBias: layer.convBias.to(gpu),
          dtBias: layer.dtBias.to(gpu), a: layer.a.to(gpu), d: layer.d.to(gpu))
      }
      let (inner, heads) = (2 * width, 2 * width / 64)
      let projected = random(layers, classes, 2 * inner + 128 + heads, seed: 90, dtype)
      let own = Tensor.of((0..<R).map { $0 * 3 % classes }, device: gpu)
      func states() -> MambaScanStates {
        MambaScanStates(
          layers: layers, sequences: R, inner: inner, dtype: dtype, device: gpu)
      }
      let (found, expected) = (states(), states())
      kernels.keepFirstToken(
        projected.slice(2, inner..<projected.length(2)).contiguous(), of: own,
        MambaScanWeights(stacking: weights), in: found)
      for layer in 0..<layers {
        _ = kernels.mambaScan(
          projected.select(0, layer).embedding(own).unsqueeze(1), weights[layer],
          state: expected.layers[layer], scale: 0, keepsState: true)
      }
      #expect(try found.conv[1].isEqual(to: expected.conv[1]))
      #expect(try found.ssm.isEqual(to: expected.ssm))
    }
  }

  @Test(
    arguments: types,
    [
      (900, 0.96, 4096), (0, 1, 4096), (10, 1, 4096), (0, 0.5, 4096), (1, 1, 4096),
      (4096, 0.9, 4096), (30, 0.9, 200), (50, 0.9, 1003), (900, 0.96, 6000),
    ])
  func drawsWhatTheReadablePathDraws(_ dtype: DType, _ filter: (k: Int, p: Double, V: Int)) throws {
    let (B, n, V) = (3, 37, filter.V)
    try withTorchErrors {
      let kernels = try CUDAKernels.shared(dtype)
      let logits = random(2 * B, n, V, seed: 20, dtype, scale: 3)
      let seeds: [UInt64] = [1, 2, .max]
      let (guidance, progress) = (1.5, 4.0 / 9)
      let found = try kernels.drawTokens(
        logits, seeds: .of(seeds.map { Int(truncatingIfNeeded: $0) }, device: gpu),
        settings: .of(
          (0..<B).flatMap { _ in [Float(guidance), Float(filter.p), Float(filter.k)] },
          shape: [B, 3], device: gpu),
        progress: progress, domain: TokenDraw.domain(scale: 4)
      ).elements(as: Int.self)
      let t = guidance * progress
      let halves = readable(logits)
      let guided = halves.slice(0, 0..<B) * (1 + t) - halves.slice(0, B..<2 * B) * t
      let kept = LogitFilter(topK: filter.k, topP: filter.p)(guided)
      let expected = try TokenDraw(seeds: seeds, device: .cpu).tokens(kept, scale: 4)
        .elements(as: Int.self)
      // A token at the edge of what is kept, or a number at the edge of two tokens, may fall on the other side.
      let equal = zip(found, expected).count { $0 == $1 }
      #expect(equal >= expected.count - 1, "\(equal) of \(expected.count)")
    }
  }

  /// What a damaged model gives. Nothing stays of what stood in memory before, which may be no token.
  @Test(arguments: types, [4096, 1003])
  func drawsATokenWhateverTheLogits(_ dtype: DType, vocabulary V: Int) throws {
    try withTorchErrors {
      let kernels = try CUDAKernels.shared(dtype)
      for damage in [Double.nan, -.nan, .infinity, -.infinity] {
        for (k, p) in [(900, 0.96), (0, 0.5), (5, 1)] as [(Float, Float)] {
          let logits = Tensor.concatenate(
            [
              .full([2, 24, 1], damage).to(dtype, device: gpu),
              random(2, 24, V - 1, seed: 23, dtype),
            ], axis: 2)
          let fHat = Tensor.zeros([1, 2, 3], device: gpu)
          let found = try kernels.drawTokens(
            logits, seeds: .of([5], device: gpu),
            settings: .of([2, p, k], shape: [1, 3], device: gpu), progress: 0.5,
            domain: TokenDraw.domain(scale: 1), spoiling: fHat
          ).elements(as: Int.self)
          #expect(found.allSatisfy { (0..<V).contains($0) }, "\(damage)")
          #expect(
            try fHat.sum(2).elements(as: Float.self).map(\.isNaN)
              == [found.allSatisfy { $0 == 0 }, false], "\(damage)")
        }
      }
    }
  }

  /// One logit far below leaves all others in few bins.
  @Test(arguments: types, [(900, 0.9), (0, 0.5), (4095, 1)])
  func drawsBesideAnOutlier(_ dtype: DType, _ filter: (k: Int, p: Double)) throws {
    let (n, V) = (24, 4096)
    try withTorchErrors {
      let kernels = try CUDAKernels.shared(dtype)
      let logits = Tensor.concatenate(
        [
          .full([2, n, 1], -1000).to(dtype, device: gpu),
          random(2, n, V - 1, seed: 22, dtype),
        ], axis: 2)
      let found = try kernels.drawTokens(
        logits, seeds: .of([5], device: gpu),
        settings: .of([2, Float(filter.p), Float(filter.k)], shape: [1, 3], device: gpu),
        progress: 0.5, domain: TokenDraw.domain(scale: 1)
      ).elements(as: Int.self)
      let halves = readable(logits)
      let guided = halves.slice(0, 0..<1) * 2 - halves.slice(0, 1..<2)
      let kept = LogitFilter(topK: filter.k, topP: filter.p)(guided)
      let expected = try TokenDraw(seeds: [5], device: .cpu).tokens(kept, scale: 1)
        .elements(as: Int.self)
      let equal = zip(found, expected).count { $0 == $1 }
      #expect(equal >= expected.count - 1, "\(equal) of \(expected.count)")
    }
  }

  @Test(
    arguments: kernelSets,
    [
      (1, 256, 8), (2, 1024, 1024), (17, 512, 4256), (33, 768, 74), (64, 4096, 2048),
      (31, 1536, 6320), (32, 6144, 1536), (50, 6144, 1536), (128, 4096, 1024), (3, 192, 96),
      (16, 1920, 1920), (18, 1024, 4096), (41, 1024, 1024), (64, 1024, 3072), (5, 7680, 1920),
      (17, 1536, 6320), (72, 1024, 4256), (127, 3840, 1920), (100, 7680, 1920), (128, 1536, 4608),
      (129, 1024, 3072), (200, 6144, 1536), (201, 1024, 512),
    ])
  func multipliesFewRows(_ set: KernelSet, _ shape: (Int, Int, Int)) throws {
    let (M, K, N) = shape
    let dtype = set.dtype
    try withTorchErrors {
      let kernels = try set.kernels()
      let x = random(1, M, K, seed: 35, dtype)
      let weight = random(N, K, seed: 36, dtype, scale: 0.05)
      let bias = random(N, seed: 37, dtype)
      let plain = readable(x).linear(readable(weight))
      try expectClose(kernels.linear(x, weight, nil), plain, dtype, roundings: 1)
      for givesBias in [true, false] {
        let sums = kernels.linearInParts(x, weight, givesBias ? bias : nil)
        let total = readable(sums.parts).sum(0) + (sums.bias.map(readable) ?? 0 * plain)
        let expected = givesBias ? plain + readable(bias) : plain
        try expectClose(
          total, expected, dtype, roundings: 4, "\(sums.parts.length(0)) parts")
      }
      let activated = (plain + readable(bias)).geluTanh()
      try expectClose(kernels.linear(x, weight, bias, gelu: true), activated, dtype, roundings: 2)
    }
  }

  @Test(
    arguments: kernelSets,
    [[(1, 1), (2, 3), (4, 6)], [(1, 1), (2, 2), (3, 3), (10, 10), (16, 16)], [(5, 5), (32, 32)]])
  func addsTokenMaps(_ set: KernelSet, _ sizes: [(Int, Int)]) throws {
    let dtype = set.dtype
    try withTorchErrors {
      let kernels = try set.kernels()
      let configuration = TokenizerConfiguration()
      let p = Parameters(RandomSource(seed: 80), dtype: .float32, device: .cpu)
      let schedule = try ScaleSchedule(sizes.map { ScaleSchedule.Size($0.0, $0.1) })
      let quantizer = Quantizer(p / "quantize", configuration)
      let onGPU = Quantizer(
        Parameters(RandomSource(seed: 80), dtype: .float32, device: gpu) / "quantize",
        configuration)
      guard let fused = FusedQuantizer(onGPU, schedule, kernels) else {
        #expect(set.isOfSmallGPU && schedule.final.height == 32)
        return
      }
      let B = 3
      let fHat = Tensor.full(
        [B, configuration.codeChannels, schedule.final.height, schedule.final.width], .nan,
        device: gpu)
      var expected: Tensor?
      for (k, size) in schedule.sizes.enumerated() {
        let tokens: Tensor = .of(
          (0..<B * size.count).map { $0 * 37 % 4096 }, shape: [B, size.count])
        let next = try fused.add(tokens.to(gpu), scale: k, to: fHat)
        let added = quantizer.contribution(
          of: quantizer.codebook.embedding(tokens), scale: k, schedule)
        let sum = expected.map { $0 + added } ?? added
        expected = sum
        #expect(try distance(readable(fHat), sum) < 1e-4, "scale \(k)")
        guard k + 1 < schedule.count else {
          #expect(next == nil)
          break
        }
        try expectClose(
          #require(next), quantizer.input(fromFHat: sum, scale: k + 1, schedule), dtype,
          roundings: 1, "scale \(k)")
      }
    }
  }

  /// A kernel that was launched with much shared memory, then with less, still gets much.
  @Test(arguments: types) func takesSizesInAnyOrder(_ dtype: DType) throws {
    try withTorchErrors {
      let kernels = try CUDAKernels.shared(dtype)
      let shape = (channels: 32, height: 24, width: 24)
      let weights = TokenMapWeights(
        codebook: random(64, shape.channels, seed: 1, .float32),
        weight: random(shape.channels, shape.channels, 3, 3, seed: 2, .float32),
        bias: random(shape.channels, seed: 3, .float32))
      func map(_ side: Int) throws -> Tensor {
        let fHat = Tensor.zeros([1, shape.channels, shape.height, shape.width], device: gpu)
        let tokens = Tensor.of((0..<side * side).map { $0 % 64 }, shape: [1, side * side])
        _ = try kernels.addTokenMap(
          tokens.to(gpu), weights, to: fHat, isFirst: true, size: (side, side), next: nil)
        return fHat
      }
      let first = try map(11)
      // Sizes that no other test has.
      for side in [7, 12, 6] { _ = try map(side) }
      #expect(try distance(readable(map(11)), readable(first)) == 0)
    }
  }

  @Test(arguments: types, [(1, 160, 16, 16), (2, 64, 5, 7), (3, 640, 8, 8), (1, 32, 64, 64)])
  func normalizesGroups(_ dtype: DType, _ shape: (Int, Int, Int, Int)) throws {
    let (B, C, H, W) = shape
    try withTorchErrors {
      let kernels = try CUDAKernels.shared(dtype)
      let x = random(B, C, H, W, seed: 30, dtype).channelsLast()
      let y = random(B, C, H, W, seed: 31, dtype).channelsLast()
      let (weight, shift) = (random(C, seed: 32, dtype), random(C, seed: 33, dtype))
      let bias = random(C, seed: 34, dtype)
      func expected(_ input: Tensor) -> Tensor {
        input.groupNorm(32, readable(weight), readable(shift), epsilon: 1e-6).silu()
      }
      let column = readable(bias).reshape(1, C, 1, 1)
      let biased = kernels.groupNormSiLU(
        kernels.summedUp(x, bias: bias), weight: weight, shift: shift)
      try expectClose(biased, expected(readable(x) + column), dtype)
      let plain = kernels.groupNorm(kernels.summedUp(x), weight: weight, shift: shift)
      try expectClose(
        plain,
        readable(x).groupNorm(32, readable(weight), readable(shift), epsilon: 1e-6), dtype)
      let sum = kernels.sum(x, y, bias: bias)
      try expectClose(sum.x, readable(x) + readable(y) + column, dtype, roundings: 1)
      try expectClose(
        kernels.groupNormSiLU(sum, weight: weight, shift: shift), expected(readable(sum.x)), dtype)
    }
  }

  @Test(arguments: types, [(1, 160, 16, 16), (2, 64, 5, 7), (3, 640, 8, 8), (5, 32, 24, 24)])
  func differentiatesGroupNorms(_ dtype: DType, _ shape: (Int, Int, Int, Int)) throws {
    let (B, C, H, W) = shape
    try withTorchErrors {
      let kernels = try CUDAKernels.shared(dtype)
      let inputs = [
        random(B, C, H, W, seed: 35, dtype), random(C, seed: 36, dtype), random(C, seed: 37, dtype),
      ]
      let gradient = random(B, C, H, W, seed: 38, dtype)
      let leaves = inputs.map(readable)
      for leaf in leaves { leaf.setRequiresGradient() }
      let expected = leaves[0].groupNorm(32, leaves[1], leaves[2], epsilon: 1e-6).silu()
      let slopes = expected.gradients(of: leaves, from: readable(gradient))
      for input in inputs { input.setRequiresGradient() }
      let found = kernels.differentiableGroupNormSiLU(
        inputs[0], weight: inputs[1], shift: inputs[2])
      try expectClose(found.detached(), expected.detached(), dtype)
      for (found, expected) in zip(found.gradients(of: inputs, from: gradient), slopes) {
        // A gradient is made of y's slope at a rounded place and of sums, each rounded once more.
        try expectClose(found!, expected!, dtype, roundings: 8)
      }
    }
  }

  @Test(arguments: types)
  func interleavesPixels(_ dtype: DType) throws {
    try withTorchErrors {
      let kernels = try CUDAKernels.shared(dtype)
      let (B, C, H, W) = (2, 32, 3, 5)
      let kinds = random(B, 4 * C, H + 1, W + 1, seed: 40, dtype).channelsLast()
      let bias = random(C, seed: 41, dtype)
      let found = readable(kernels.interleaved(kinds, bias: bias).x)
      let source = readable(kinds).reshape(B, 2, 2, C, H + 1, W + 1)
      for (i, j) in [(0, 0), (1, 4), (2, 3), (5, 9)] {
        let kind = source.select(1, i % 2).select(1, j % 2)
        let expected = kind.select(2, i / 2 + i % 2).select(2, j / 2 + j % 2) + readable(bias)
        try expectClose(found.select(2, i).select(2, j), expected, dtype, roundings: 1)
      }
    }
  }
}

@Suite(.serialized, .enabled(if: hasGPU, "needs a GPU"))
struct FusedModelTests {
  /// Both ways through a small model with the same weights.
  private func models(
    _ kind: TransformerConfiguration.Kind, _ dtype: DType,
    attention: TransformerConfiguration.AttentionNorm
  )
    throws -> (Transformer, Tokenizer)
  {
    var configuration = TransformerConfiguration(kind: kind, depth: 3)
    configuration.attentionNorm = attention
    let p = Parameters(RandomSource(seed: 50), dtype: dtype, device: gpu)
    return (
      try Transformer(p, configuration: configuration), Tokenizer(p / "tokenizer", encodes: false)
    )
  }

  @Test(arguments: TransformerConfiguration.Kind.allCases, types)
  func givesTheLogitsOfTheReadablePath(_ kind: TransformerConfiguration.Kind, _ dtype: DType) throws
  {
    try withInferenceMode {
      try withTorchErrors {
        for (attention, knowsClasses) in [
          (TransformerConfiguration.AttentionNorm.l2, true), (.l2, false), (.scaled, true),
        ] {
          let (half, _) = try models(kind, dtype, attention: attention)
          let (full, _) = try models(kind, .float32, attention: attention)
          let fused = try #require(
            try FusedTransformer.make(half, knowsClasses: knowsClasses))
          #expect((fused.classTable != nil) == knowsClasses)
          let both: Tensor = .of([1, 2, 1000, 1000], device: gpu)
          let state = fused.state(batch: 2)
          let (a, first) = fused.begin(
            labels: both.slice(0, 0..<3), sequences: both, state: state)
          let (b, c) = (half.condition(both), full.condition(both))
          var (readableState, fullState) = (half.initialState(), full.initialState())
          var (foundError, plainError) = (0.0, 0.0)
          for (k, range) in half.configuration.schedule.ranges.enumerated() {
            let input = k == 0 ? nil : random(2, range.count, 32, seed: UInt64(60 + k), .float32)
            let twice = input?.repeated(2, 1, 1)
            let expected = full.step(twice, condition: c, state: &fullState)
            let found =
              (input.map {
                fused.step(
                  fused.input($0, scale: k), scale: k, condition: a, state: state.blocks)
              } ?? first).to(.float32)
            let plain = half.step(twice, condition: b, state: &readableState)
            #expect(
              try distance(found, expected) <= 3 * distance(plain, expected) + 1e-3, "scale \(k)")
            func squaredError(_ logits: Tensor) throws -> Double {
              try ((logits - expected) * (logits - expected)).reshape(-1).sum(0).item()
            }
            foundError += try squaredError(found)
            plainError += try squaredError(plain)
          }
          // No further from float32 than the readable path in the same 16 bits.
          #expect(foundError <= 1.25 * plainError, "\(attention), \(knowsClasses)")
        }
      }
    }
  }

  @Test(arguments: types)
  func drawsTheSameAgainFromGraphs(_ dtype: DType) throws {
    try withInferenceMode {
      try withTorchErrors {
        let (transformer, tokenizer) = try models(.mvar, dtype, attention: .l2)
        let model = try #require(try FusedModel(transformer, tokenizer))
        func tokens(_ labels: [Int], _ seeds: [UInt64]) throws -> [[Int]] {
          let sampler = try model.sampler(
            labels: labels, seeds: seeds, settings: labels.map { _ in .init() })
          var rows = labels.map { _ in [Int]() }
          while let scale = try sampler.next() {
            for (index, _) in labels.enumerated() {
              rows[index] += try scale.tokens.select(0, index).elements(as: Int.self)
            }
          }
          return rows
        }
        let first = try tokens([1, 2, 3], [4, 5, 6])
        for _ in 0..<3 { #expect(try tokens([1, 2, 3], [4, 5, 6]) == first) }
        // Among others, in another place.
        let other = try tokens([7, 3, 9, 1], [8, 6, 1, 4])
        #expect(other[1] == first[2] && other[3] == first[0] && other[0] != first[0])
        #expect(try tokens([1, 2, 3], [4, 5, 6]) == first)
      }
    }
  }

  /// A picture of which nothing can be drawn is no picture, so that whoever makes it one says so; its neighbour is.
  @Test(arguments: types)
  func damageShowsInItsPicture(_ dtype: DType) throws {
    try withInferenceMode {
      try withTorchErrors {
        let (transformer, tokenizer) = try models(.mvar, dtype, attention: .l2)
        let damaged = transformer.classEmbedding.select(0, 2)
        damaged.copyInPlace(from: .full(damaged.shape, .nan).to(dtype, device: gpu))
        let model = try #require(try FusedModel(transformer, tokenizer))
        // As it is, recorded and replayed.
        for _ in 0..<3 {
          let sampler = try model.sampler(
            labels: [1, 2], seeds: [3, 4], settings: [.init(), .init()])
          var fHat: Tensor?
          while let scale = try sampler.next() { fHat = scale.fHat }
          let sums = try #require(fHat).reshape(2, -1).sum(1)
          #expect(try sums.elements(as: Float.self).map(\.isNaN) == [false, true])
        }
      }
    }
  }

  @Test(arguments: types)
  func drawsAroundGivenTokens(_ dtype: DType) throws {
    try withInferenceMode {
      try withTorchErrors {
        let (transformer, tokenizer) = try models(.mvar, dtype, attention: .l2)
        let model = try #require(try FusedModel(transformer, tokenizer))
        let schedule = transformer.configuration.schedule
        let pyramid = TokenPyramid(
          unchecked: schedule.sizes.map { size in
            let tokens = (0..<3 * size.count).map { Int64($0 * 37 % 4096) }
            return .of(tokens, shape: [3, size.count], device: gpu)
          }, schedule: schedule)
        /// What stands, and f̂ of it, where tokens are drawn that `isDrawn` says.
        func draw(_ isDrawn: ((_ k: Int, _ place: Int) -> Bool)?) throws -> (
          tokens: [[Int]], fHat: Tensor
        ) {
          let given = isDrawn.map { isDrawn in
            GivenTokens(
              pyramid,
              drawn: schedule.sizes.enumerated().map { k, size in
                let shares = (0..<3 * size.count).map { isDrawn(k, $0) ? 1 : 0 as Float }
                return .of(shares, shape: [3, size.count], device: gpu)
              }, mixes: false)
          }
          let sampler = try model.sampler(
            labels: [1, 2, 3], seeds: [4, 5, 6], given: given,
            settings: [.init(), .init(), .init()])
          var (tokens, fHat) = ([[Int]](), Tensor?.none)
          while let scale = try sampler.next() {
            tokens.append(try scale.tokens.reshape(-1).elements(as: Int.self))
            fHat = scale.fHat
          }
          return (tokens, fHat!)
        }
        let other = try pyramid.scales.map { try $0.reshape(-1).elements(as: Int.self) }
        let alone = try draw(nil)
        let some = { k, place in k > 5 && place % 3 == 0 } as (Int, Int) -> Bool
        let first = try draw(some)
        // The first run, the recorded one and those from graphs.
        for _ in 0..<3 {
          #expect(try draw { _, _ in true }.tokens == alone.tokens)
          #expect(try draw { _, _ in false }.tokens == other)
          let mixed = try draw(some)
          #expect(mixed.tokens == first.tokens)
          #expect(try mixed.fHat.isEqual(to: first.fHat))
          for (k, tokens) in mixed.tokens.enumerated() {
            for place in tokens.indices where !some(k, place) {
              #expect(tokens[place] == other[k][place])
            }
          }
          #expect(mixed.tokens != other)
        }
        let expected = tokenizer.quantizer.fHats(pyramid).last!
        let found = try draw { _, _ in false }.fHat
        try expectClose(found, readable(expected), dtype)
      }
    }
  }

  @Test(arguments: types, [1, 3, 18])
  func decodesLikeTheReadablePath(_ dtype: DType, batch: Int) throws {
    try withInferenceMode {
      try withTorchErrors {
        let (transformer, tokenizer) = try models(.mvar, dtype, attention: .l2)
        let exact = Tokenizer(
          Parameters(RandomSource(seed: 50), dtype: .float32, device: gpu) / "tokenizer",
          encodes: false)
        let model = try #require(try FusedModel(transformer, tokenizer))
        let fHat = random(batch, 32, 16, 16, seed: 70, .float32)
        let expected = exact.decode(fHat: fHat)
        let plain = try distance(tokenizer.decode(fHat: fHat), expected)
        for _ in 0..<3 {
          #expect(try distance(model.decoding(fHat: fHat), expected) <= 1.5 * plain + 1e-3)
        }
      }
    }
  }
}
