import Foundation
import Testing
import Torch
import TorchTestSupport

@testable import CUDAKernels
@testable import MVAR

// What the choices between kernels stand on. Asked for by name, as they take long and judge nothing but what they compute:
//     MVAR_TIMINGS=16,24 swift test --filter Timings
// The numbers are depths of models.

private let depths = (ProcessInfo.processInfo.environment["MVAR_TIMINGS"] ?? "")
  .split(separator: ",").compactMap { Int($0) }

@Suite(.serialized, .enabled(if: hasGPU && !depths.isEmpty, "needs a GPU and MVAR_TIMINGS"))
struct Timings {
  private static let layers = 12

  /// The median time of recorded work, in microseconds.
  private func microseconds(_ body: () throws -> Void) throws -> Double {
    try body()
    let (graph, _) = try CUDAGraph.recording(body)
    for _ in 0..<2 { try graph.replay() }
    let times = try (0..<7).map { _ in
      let start = try CUDAEvent()
      try graph.replay()
      return try CUDAEvent().milliseconds(since: start)
    }
    return times.sorted()[times.count / 2] * 1000
  }

  private func text(_ value: Double) -> String { String(format: "%7.2f", value) }

  /// A norm and a product, as they follow each other in a block, with weights that are in no cache.
  @Test(arguments: depths) func products(_ depth: Int) throws {
    let C = 64 * depth
    let shapes = [
      (3 * C, C), (C, C), (4 * C + 128 + 2 * depth, C), (C, 2 * C), (4 * C, C), (C, 4 * C),
    ]
    print("d\(depth): us for a norm and a product; + asks for weights ahead")
    print("     M     N     K    norm libtorch       +    tiles       +  form")
    try withInferenceMode {
      try withTorchErrors {
        let kernels = try CUDAKernels.shared(.bfloat16)
        let table = ModulationTable(rows: random(2, 6 * C, seed: 3, .bfloat16))
        for (N, K) in shapes {
          let column = random(N, 64, seed: 36, .bfloat16, scale: 0.05).repeated(1, K / 64)
          let weights = (0..<Self.layers).map { _ in column.clone() }
          let bias = random(N, seed: 37, .bfloat16)
          for M in [50, 72, 128, 200, 338] {
            let x = random(1, M, K, seed: 35, .bfloat16)
            let stream = random(1, M, C, seed: 38, .bfloat16)
            let parts = N == C ? [1, 2, 4] : [1]
            let form = try #require(
              TiledForm(
                rows: M, inputs: K, outputs: N, parts: parts,
                ranks: 2, multiprocessors: kernels.multiprocessors))
            let product = try kernels.tiledProduct(form)
            kernels.choices = .plain
            kernels.choices.rowsAhead = 0..<1025
            defer { kernels.choices = KernelChoices() }
            func libtorch(_ weight: Tensor) -> PartialSums {
              N == C
                ? kernels.linearInParts(x, weight, bias)
                : PartialSums(parts: kernels.linear(x, weight, bias).unsqueeze(0))
            }
            func tiles(_ weight: Tensor) -> PartialSums {
              PartialSums(parts: kernels.multiply(product, x, weight, bias))
            }
            func time(_ body: ((Tensor) -> PartialSums)?, ahead: Bool) throws -> Double {
              try microseconds {
                var pending: PartialSums?
                for weight in weights {
                  _ = kernels.modulatedNorm(
                    stream,
                    adding: N == C
                      ? pending.map { SublayerOutput(y: $0, table: table, gain: C) } : nil,
                    table: table, columns: (scale: 2 * C, shift: 5 * C),
                    ahead: ahead ? kernels.ahead([weight], rows: M) : .none)
                  pending = body?(weight)
                }
              } / Double(Self.layers)
            }
            let times = [
              try time(nil, ahead: false), try time(libtorch, ahead: false),
              try time(libtorch, ahead: true), try time(tiles, ahead: false),
              try time(tiles, ahead: true),
            ].map(text).joined(separator: " ")
            let sizes = [M, N, K].map { String(format: "%5d", $0) }.joined(separator: " ")
            let compiled = form.compiled
            print(
              " \(sizes) \(times)  \(compiled.height)x\(compiled.width), \(form.parts) parts")
            let found = tiles(weights[0]).parts.to(.float32).sum(0)
            let expected = x.linear(weights[0], bias).to(.float32)
            try expectClose(found, readable(expected), .bfloat16)
          }
        }
      }
    }
  }

  /// The two forms of the scan, and of attention, where there are many sequences.
  @Test(arguments: depths) func forms(_ depth: Int) throws {
    let (R, heads) = (128, 2 * depth)
    try withInferenceMode {
      try withTorchErrors {
        let kernels = try CUDAKernels.shared(.bfloat16)
        defer { kernels.choices = KernelChoices() }
        let (D, P) = (64 * heads, 128 * heads + 128 + heads)
        let weights = MambaScanWeights(
          convWeight: random(D + 128, 4, seed: 1, .float32),
          convBias: random(D + 128, seed: 2, .float32),
          dtBias: random(heads, seed: 3, .float32),
          a: random(heads, seed: 4, .float32) * 0.1 - 1,
          d: random(heads, seed: 5, .float32))
        let state = MambaScanState(sequences: R, inner: D, dtype: .bfloat16, device: gpu)
        print(
          "d\(depth), \(R) sequences, us: tokens, scan, scan at once, attention, attention at once")
        for n in [1, 16, 36, 64, 100, 169, 256] {
          let projected = random(1, n, P, seed: 6, .bfloat16).repeated(R, 1, 1)
          let qkv = random(1, n, 3 * 64 * depth, seed: 7, .bfloat16).repeated(R, 1, 1)
          let times = try [KernelChoices.plain, KernelChoices(scannedAtOnce: 1000)].map { choices in
            kernels.choices = choices
            return (
              try microseconds {
                _ = kernels.mambaScan(projected, weights, state: state, scale: 1, keepsState: true)
              },
              try microseconds { _ = kernels.attention(qkv, scale: .constant(0.1)) }
            )
          }
          #expect(times.allSatisfy { $0.0 > 0 && $0.1 > 0 })
          print(
            String(format: "%5d", n), text(times[0].0), text(times[1].0), text(times[0].1),
            text(times[1].1))
        }
      }
    }
  }

  /// All scales of a picture, without what is drawn between them.
  @Test(arguments: depths) func scales(_ depth: Int) throws {
    var (ahead, tiles, scan, attention) = (
      KernelChoices.plain, KernelChoices.plain, KernelChoices.plain, KernelChoices.plain
    )
    attention.attendsAtOnce = true
    ahead.rowsAhead = KernelChoices().rowsAhead
    tiles.tiledRows = KernelChoices().tiledRows
    scan.scannedAtOnce = 1
    var both = tiles
    both.scannedAtOnce = 1
    try withInferenceMode {
      try withTorchErrors {
        let configuration = TransformerConfiguration(kind: .mvar, depth: depth)
        let p = Parameters(RandomSource(seed: 50), dtype: .bfloat16, device: gpu)
        let fused = try #require(
          FusedTransformer.make(try Transformer(p, configuration: configuration)))
        defer { fused.kernels.choices = KernelChoices() }
        for batch in [1, 8] {
          print("d\(depth), batch \(batch): us by scale")
          for (name, choices) in [
            ("plain", .plain), ("weights ahead", ahead), ("tiles", tiles),
            ("scan at once", scan), ("attention", attention), ("tiles + scan", both),
            ("all", KernelChoices()),
          ] {
            fused.kernels.choices = choices
            let times = try times(fused, configuration.schedule, batch: batch)
            #expect(times.allSatisfy { $0 > 0 })
            let columns = (times + [times.reduce(0, +)]).map { String(format: "%6.0f", $0) }
            print(" " + name.padding(toLength: 14, withPad: " ", startingAt: 0), columns.joined())
          }
        }
      }
    }
  }

  /// Microseconds of each scale.
  private func times(
    _ fused: FusedTransformer, _ schedule: ScaleSchedule, batch: Int
  ) throws -> [Double] {
    let condition = fused.condition(.zeros([batch + 1], dtype: .int64, device: gpu))
    let state = fused.state(batch: batch)
    return try schedule.ranges.enumerated().map { k, range in
      let input =
        k == 0 ? nil : random(batch, range.count, 32, seed: UInt64(60 + k), .bfloat16)
      return try microseconds {
        _ = fused.step(input, scale: k, condition: condition, state: state)
      }
    }
  }
}
