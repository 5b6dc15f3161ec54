import Torch

/// How fast a GPU copies and multiplies, measured on the spot.
public struct DeviceRates: Sendable, Hashable, Codable {
  /// Bytes a second that a large copy reads and writes.
  public let bytesPerSecond: Double
  /// Operations a second of a large product in 16 bits, on random numbers.
  public let operationsPerSecond: Double

  /// - Throws: `TorchError` where there is no GPU, or not enough memory.
  static func measured(_ dtype: DType, _ device: Device) throws -> DeviceRates {
    let bytes = 1 << 30
    let source = Tensor.full([bytes], 1, dtype: .uint8, device: device)
    let target = source.clone()
    let side = 8192
    let a = Tensor.randn([side, side], seed: 1).to(dtype, device: device)
    return DeviceRates(
      bytesPerSecond: 2 * Double(bytes) / (try fastest { target.copyInPlace(from: source) }),
      operationsPerSecond: 2 * Double(side * side * side) / (try fastest { _ = a.matmul(a) }))
  }

  /// Seconds of the fastest of a few runs.
  private static func fastest(_ work: () -> Void) throws -> Double {
    work()
    return try (0..<10).map { _ in
      let start = try CUDAEvent()
      work()
      return try CUDAEvent().milliseconds(since: start) / 1000
    }.min()!
  }
}

/// The time that no implementation beats: every scale reads the weights once, and multiplies every token of every
/// sequence with them; but for a first scale that classes decide, which is computed when a model is loaded.
struct SamplingFloor {
  /// Weights of the transformer that every token meets.
  private let weights: Int
  private let sizes: [ScaleSchedule.Size]
  private let decoderOperations: Double

  /// - Parameter knowsClasses: whether the first scale is looked up (``ClassTable``).
  init(_ transformer: Transformer, _ tokenizer: Tokenizer, knowsClasses: Bool) {
    weights = Self.weights(of: transformer)
    let schedule = transformer.configuration.schedule
    sizes = Array(schedule.sizes.dropFirst(knowsClasses ? 1 : 0))
    decoderOperations = tokenizer.decoder.operations(on: schedule.final)
  }

  /// How many weights of a transformer every token meets.
  static func weights(of transformer: Transformer) -> Int {
    let blocks = transformer.blocks.flatMap { block in
      [
        block.attention.qkv, block.attention.projection, block.feedForward.fc1,
        block.feedForward.fc2,
      ]
        + (block.mamba.map { [$0.inProj, $0.outProj] } ?? [])
    }
    return (blocks + [transformer.head, transformer.wordEmbedding]).reduce(0) {
      $0 + $1.weight.count
    }
  }

  /// Seconds for a batch with guidance, in 16 bits.
  func seconds(batch: Int, _ rates: DeviceRates) -> Double {
    let reading = Double(2 * weights) / rates.bytesPerSecond
    let scales = sizes.map { size in
      max(reading, Double(2 * batch * size.count * 2 * weights) / rates.operationsPerSecond)
    }
    return scales.reduce(0, +) + Double(batch) * decoderOperations / rates.operationsPerSecond
  }
}

extension Decoder {
  /// What its convolutions compute for one picture whose features have this size.
  fileprivate func operations(on size: ScaleSchedule.Size) -> Double {
    func of(_ weight: Tensor, _ pixels: Int) -> Double { 2 * Double(weight.count * pixels) }
    func of(_ block: ResidualBlock, _ pixels: Int) -> Double {
      of(block.conv1.weight, pixels) + of(block.conv2.weight, pixels)
        + (block.shortcut.map { of($0.weight, pixels) } ?? 0)
    }
    var pixels = size.count
    var sum = of(convIn.weight, pixels) + of(middle.block1, pixels) + of(middle.block2, pixels)
    for level in levels {
      sum += level.blocks.reduce(0) { $0 + of($1.block, pixels) }
      if let upsampling = level.upsampling {
        sum += of(upsampling.merged, pixels)
        pixels *= 4
      }
    }
    return sum + of(convOut.weight, pixels)
  }
}
