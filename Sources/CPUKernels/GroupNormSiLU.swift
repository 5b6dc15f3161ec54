// B pictures of S pixels, C channels (a multiple of 8), channels last.

/// SiLU(GroupNorm(x) w + b) in two passes over memory: one measures the groups, one writes.
public struct GroupNormSiLU: @unchecked Sendable {
  /// Pixels of a block; their sums are of float32, those of blocks of float64.
  private static let blockSize = 64

  private let batch: Int
  private let pixels: Int
  private let channels: Int
  private let groups: Int
  private let epsilon: Double
  private let input: UnsafeMutableRawPointer
  private let output: UnsafeMutableRawPointer
  private let weight: Numbers
  private let bias: Numbers
  private let factors: MutableNumbers  // [B, 2, C]: the mean, and what the rest is multiplied by
  private let sums: MutableNumbers  // [B, blocks, 2, C]

  /// - Parameters:
  ///   - input: x, `[B, S, C]`.
  ///   - output: `[B, S, C]`; may be `input`.
  ///   - weight: w, `[C]`.
  ///   - bias: b, `[C]`.
  ///   - scratch: ``scratchCount(batch:pixels:channels:)`` numbers.
  public init(
    batch: Int, pixels: Int, channels: Int, groups: Int, epsilon: Double,
    input: UnsafeMutableRawPointer, output: UnsafeMutableRawPointer,
    weight: UnsafePointer<Float>, bias: UnsafePointer<Float>,
    scratch: UnsafeMutablePointer<Float>
  ) {
    (self.batch, self.pixels, self.channels, self.groups) = (batch, pixels, channels, groups)
    (self.epsilon, self.input, self.output) = (epsilon, input, output)
    (self.weight, self.bias) = (weight, bias)
    factors = scratch
    sums = scratch + batch * 2 * channels
  }

  public static func scratchCount(batch: Int, pixels: Int, channels: Int) -> Int {
    batch * (1 + blocks(pixels)) * 2 * channels
  }

  private static func blocks(_ pixels: Int) -> Int { (pixels + blockSize - 1) / blockSize }

  /// Blocks of pixels, for both passes.
  public var units: Int { batch * Self.blocks(pixels) }

  // MARK: First pass

  public func measure(_ units: Range<Int>, _ type: KernelType) {
    switch type {
    case .float32: for unit in units { measure(unit, Float.self) }
    case .bfloat16: for unit in units { measure(unit, BFloat16.self) }
    }
  }

  private func measure<E: Element>(_ unit: Int, _ type: E.Type) {
    let block = block(unit)
    let source = input.assumingMemoryBound(to: E.self) + block.start * channels
    let target = sums + unit * 2 * channels
    target.update(repeating: 0, count: 2 * channels)
    for pixel in 0..<block.count {
      for channel in stride(from: 0, to: channels, by: 8) {
        let x = E.lanes(source + (pixel * channels + channel))
        let (sum, squares) = (target + channel, target + (channels + channel))
        Float.put(Float.lanes(sum) + x, sum)
        Float.put(Float.lanes(squares).addingProduct(x, x), squares)
      }
    }
  }

  /// What the second pass needs: mean and variance of each group, with the weight and the bias.
  public func prepare() {
    let (blocks, size) = (Self.blocks(pixels), channels / groups)
    for b in 0..<batch {
      for group in 0..<groups {
        var (sum, squares) = (0.0, 0.0)
        for block in b * blocks..<(b + 1) * blocks {
          let values = sums + (block * 2 * channels + group * size)
          for channel in 0..<size {
            sum += Double(values[channel])
            squares += Double(values[channels + channel])
          }
        }
        let count = Double(pixels * size)
        let mean = sum / count
        let deviation = (max(squares / count - mean * mean, 0) + epsilon).squareRoot()
        for channel in group * size..<(group + 1) * size {
          factors[b * 2 * channels + channel] = Float(mean)
          factors[(b * 2 + 1) * channels + channel] = Float(Double(weight[channel]) / deviation)
        }
      }
    }
  }

  // MARK: Second pass

  public func apply(_ units: Range<Int>, _ type: KernelType) {
    switch type {
    case .float32: for unit in units { apply(unit, Float.self) }
    case .bfloat16: for unit in units { apply(unit, BFloat16.self) }
    }
  }

  private func apply<E: Element>(_ unit: Int, _ type: E.Type) {
    let block = block(unit)
    let source = input.assumingMemoryBound(to: E.self) + block.start * channels
    let target = output.assumingMemoryBound(to: E.self) + block.start * channels
    let (mean, scale) = (factors + block.b * 2 * channels, factors + (block.b * 2 + 1) * channels)
    for pixel in 0..<block.count {
      for channel in stride(from: 0, to: channels, by: 8) {
        let place = pixel * channels + channel
        let rest = E.lanes(source + place) - Float.lanes(mean + channel)
        let normal = Float.lanes(bias + channel)
          .addingProduct(rest, Float.lanes(scale + channel))
        E.put(normal.silu, target + place)
      }
    }
  }

  /// A block's picture, and its pixels among those of all pictures.
  @inline(__always)
  private func block(_ unit: Int) -> (b: Int, start: Int, count: Int) {
    let (b, block) = unit.quotientAndRemainder(dividingBy: Self.blocks(pixels))
    let first = block * Self.blockSize
    return (b, b * pixels + first, min(Self.blockSize, pixels - first))
  }
}
