import CUDAKernels
import Torch

/// Where the time of sampling on a GPU goes: every part of the blocks, measured alone in a graph of all blocks, so that
/// weights come from memory as they do in a whole run. A first scale that is looked up has no parts.
struct PartTimes {
  /// Milliseconds, by part and scale, of all blocks together.
  private(set) var milliseconds: [(part: String, scales: [Double])] = []

  init(_ transformer: Transformer, _ fused: FusedTransformer, batch: Int, runs: Int = 5) throws {
    let schedule = transformer.configuration.schedule
    let table = fused.condition(
      .zeros([batch + 1], dtype: .int64, device: transformer.head.weight.device)
    ).blocks[0]
    let states = fused.state(batch: batch).blocks
    for part in FusedBlock.Part.allCases {
      guard let width = fused.blocks[0].inputWidth(of: part) else { continue }
      let scales = try schedule.ranges.enumerated().map { k, range -> Double in
        if k == 0, fused.classTable != nil { return 0 }
        let place = FusedBlock.Place(
          scale: k, firstToken: range.lowerBound, isLast: k == schedule.count - 1)
        // Random, as constant numbers make a GPU faster than it is.
        let x = Tensor.randn([1, range.count, width], seed: 1)
          .to(table.rows.dtype, device: table.rows.device)
          .repeated(2 * batch, 1, 1)
        return try Self.median(runs) {
          for (block, state) in zip(fused.blocks, states) {
            _ = block.run(part, x, table, state: state, at: place)
          }
        }
      }
      milliseconds.append((part.rawValue, scales))
    }
  }

  /// The median time of work that is recorded as a graph, in milliseconds.
  private static func median(_ runs: Int, _ body: () throws -> Void) throws -> Double {
    try body()
    let (graph, _) = try CUDAGraph.recording(body)
    try graph.replay()
    let times = try (0..<runs).map { _ in
      let start = try CUDAEvent()
      try graph.replay()
      return try CUDAEvent().milliseconds(since: start)
    }
    return times.sorted()[runs / 2]
  }
}
