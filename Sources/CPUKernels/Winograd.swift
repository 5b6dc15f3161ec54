// B pictures, H × W pixels, I and O channels; a tile is 4 × 4 pixels, seen through 6 × 6; 36 places of a transformed tile.

/// Convolutions 3 × 3 with a quarter of the products: Winograd's F(4 × 4, 3 × 3) (arXiv 1509.09308), in float32, channels
/// last, stride 1, padding 1.
///
/// Pictures are cut into tiles. At each of 36 places of the transformed tiles stands a product of matrices, tiles × I by
/// I × O; a thread takes as many tiles as stay in its caches from the pixels in to the pixels out.
public struct WinogradConvolution: @unchecked Sendable {
  /// Tiles that a thread takes at a time; a multiple of the rows of ``multiply(_:_:_:)``.
  static let tileCount = 24
  private static let rowCount = 6
  /// Output channels of a panel of the weight.
  public static let panel = 16
  public static let places = 36

  let size: (height: Int, width: Int)
  let inputs: Int
  let outputs: Int
  let source: Numbers
  let weight: Numbers
  let bias: Numbers
  let added: Numbers?
  let result: MutableNumbers
  private let tiles: (rows: Int, columns: Int)
  private let blocks: Int
  private let batch: Int

  /// - Parameters:
  ///   - inputs: I, a multiple of 8.
  ///   - outputs: O, a multiple of 16.
  ///   - source: `[B, H, W, I]`
  ///   - weight: `[36, O / 16, I, 16]`: G w Gᵀ with ``kernelTransform``.
  ///   - bias: `[O]`
  ///   - added: What is added to the result, `[B, H, W, O]`.
  ///   - result: `[B, H, W, O]`
  public init(
    batch: Int, size: (height: Int, width: Int), inputs: Int, outputs: Int,
    source: UnsafePointer<Float>, weight: UnsafePointer<Float>, bias: UnsafePointer<Float>,
    added: UnsafePointer<Float>?, result: UnsafeMutablePointer<Float>
  ) {
    (self.batch, self.size, self.inputs, self.outputs) = (batch, size, inputs, outputs)
    (self.source, self.weight, self.bias) = (source, weight, bias)
    (self.added, self.result) = (added, result)
    tiles = ((size.height + 3) / 4, (size.width + 3) / 4)
    blocks = (tiles.rows * tiles.columns + Self.tileCount - 1) / Self.tileCount
  }

  /// G, `[6, 3]`.
  public static let kernelTransform: [Double] = [
    1.0 / 4, 0, 0, -1.0 / 6, -1.0 / 6, -1.0 / 6, -1.0 / 6, 1.0 / 6, -1.0 / 6,
    1.0 / 24, 1.0 / 12, 1.0 / 6, 1.0 / 24, -1.0 / 12, 1.0 / 6, 0, 0, 1,
  ]

  /// Blocks of tiles.
  public var units: Int { batch * blocks }

  public func run(_ units: Range<Int>) {
    let seen = Self.places * Self.tileCount * inputs
    let made = Self.places * Self.tileCount * outputs
    withUnsafeTemporaryAllocation(of: Float.self, capacity: seen + made) { buffer in
      let (tiles, products) = (buffer.baseAddress!, buffer.baseAddress! + seen)
      for unit in units {
        read(unit, into: tiles)
        multiply(tiles, into: products)
        write(products, unit)
      }
    }
  }

  /// The place of a block's tile in its picture; nil for those beyond the last.
  @inline(__always)
  private func place(_ unit: Int, _ tile: Int) -> (b: Int, y: Int, x: Int)? {
    let (b, block) = unit.quotientAndRemainder(dividingBy: blocks)
    let index = block * Self.tileCount + tile
    guard index < tiles.rows * tiles.columns else { return nil }
    let (row, column) = index.quotientAndRemainder(dividingBy: tiles.columns)
    return (b, 4 * row, 4 * column)
  }

  // MARK: In

  /// Bᵀ d B of each tile: `[36, tiles, I]`.
  private func read(_ unit: Int, into transformed: MutableNumbers) {
    let stride = Self.tileCount * inputs
    for tile in 0..<Self.tileCount {
      let target = transformed + tile * inputs
      guard let place = place(unit, tile) else {
        for i in 0..<Self.places { (target + i * stride).update(repeating: 0, count: inputs) }
        continue
      }
      for channel in Swift.stride(from: 0, to: inputs, by: 8) {
        readTile(place, channel, target + channel, stride)
      }
    }
  }

  @inline(__always)
  private func readTile(
    _ place: (b: Int, y: Int, x: Int), _ channel: Int, _ target: MutableNumbers, _ stride: Int
  ) {
    withUnsafeTemporaryAllocation(of: Lanes.self, capacity: Self.places) { half in
      for column in 0..<6 {
        let pixels = Six { pixel(place.b, place.y + $0 - 1, place.x + column - 1, channel) }
        let lines = pixels.seen
        for row in 0..<6 { half[row * 6 + column] = lines[row] }
      }
      for row in 0..<6 {
        let values = Six { half[row * 6 + $0] }.seen
        for column in 0..<6 {
          Float.put(values[column], target + (row * 6 + column) * stride)
        }
      }
    }
  }

  /// Eight channels of a pixel; zeros around the picture.
  @inline(__always)
  private func pixel(_ b: Int, _ y: Int, _ x: Int, _ channel: Int) -> Lanes {
    guard y >= 0, y < size.height, x >= 0, x < size.width else { return .zero }
    return Float.lanes(source + (((b * size.height + y) * size.width + x) * inputs + channel))
  }

  // MARK: Products

  /// `[36, tiles, I]` by `[36, I, O]`: `[36, tiles, O]`.
  private func multiply(_ tiles: Numbers, into products: MutableNumbers) {
    for place in 0..<Self.places {
      let a = tiles + place * Self.tileCount * inputs
      let c = products + place * Self.tileCount * outputs
      for column in stride(from: 0, to: outputs, by: Self.panel) {
        let b = weight + (place * outputs + column) * inputs
        for row in stride(from: 0, to: Self.tileCount, by: Self.rowCount) {
          multiply(a + row * inputs, b, c + (row * outputs + column))
        }
      }
    }
  }

  /// Six rows by a panel, `[6, I]` by `[I, 16]`: with its twelve sums, the panel's row and a factor it fills the registers.
  @inline(__always)
  private func multiply(_ a: Numbers, _ b: Numbers, _ c: MutableNumbers) {
    typealias Row = SIMD16<Float>
    var (c0, c1, c2, c3, c4, c5) = (Row.zero, Row.zero, Row.zero, Row.zero, Row.zero, Row.zero)
    var (a, b) = (a, b)
    for _ in 0..<inputs {
      let row = UnsafeRawPointer(b).loadUnaligned(as: Row.self)
      c0 = c0.addingProduct(row, Row(repeating: a[0]))
      c1 = c1.addingProduct(row, Row(repeating: a[inputs]))
      c2 = c2.addingProduct(row, Row(repeating: a[2 &* inputs]))
      c3 = c3.addingProduct(row, Row(repeating: a[3 &* inputs]))
      c4 = c4.addingProduct(row, Row(repeating: a[4 &* inputs]))
      c5 = c5.addingProduct(row, Row(repeating: a[5 &* inputs]))
      a += 1
      b += Self.panel
    }
    func put(_ sum: Row, _ row: Int) {
      UnsafeMutableRawPointer(c + row &* outputs).storeBytes(of: sum, as: Row.self)
    }
    put(c0, 0)
    put(c1, 1)
    put(c2, 2)
    put(c3, 3)
    put(c4, 4)
    put(c5, 5)
  }

  // MARK: Out

  /// Aᵀ m A of each tile, with the bias and what is added.
  private func write(_ products: Numbers, _ unit: Int) {
    let stride = Self.tileCount * outputs
    for tile in 0..<Self.tileCount {
      guard let place = place(unit, tile) else { return }
      for channel in Swift.stride(from: 0, to: outputs, by: 8) {
        writeTile(place, channel, products + (tile * outputs + channel), stride)
      }
    }
  }

  @inline(__always)
  private func writeTile(
    _ place: (b: Int, y: Int, x: Int), _ channel: Int, _ values: Numbers, _ stride: Int
  ) {
    withUnsafeTemporaryAllocation(of: Lanes.self, capacity: 24) { half in
      for column in 0..<6 {
        let lines = Six { Float.lanes(values + ($0 * 6 + column) * stride) }.made
        for row in 0..<4 { half[row * 6 + column] = lines[row] }
      }
      for row in 0..<min(4, size.height - place.y) {
        let pixels = Six { half[row * 6 + $0] }.made
        for column in 0..<min(4, size.width - place.x) {
          let y = (place.b * size.height + place.y + row) * size.width + place.x + column
          put(pixels[column], at: y * outputs + channel, channel)
        }
      }
    }
  }

  @inline(__always)
  private func put(_ value: Lanes, at index: Int, _ channel: Int) {
    var sum = value + Float.lanes(bias + channel)
    if let added { sum += Float.lanes(added + index) }
    Float.put(sum, result + index)
  }
}

/// Six places in a row, eight channels of each.
private struct Six {
  private var a, b, c, d, e, f: Lanes

  @inline(__always)
  init(_ make: (Int) -> Lanes) {
    (a, b, c, d, e, f) = (make(0), make(1), make(2), make(3), make(4), make(5))
  }

  @inline(__always)
  private init(_ a: Lanes, _ b: Lanes, _ c: Lanes, _ d: Lanes, _ e: Lanes, _ f: Lanes) {
    (self.a, self.b, self.c, self.d, self.e, self.f) = (a, b, c, d, e, f)
  }

  subscript(index: Int) -> Lanes {
    @inline(__always) get {
      switch index {
      case 0: a
      case 1: b
      case 2: c
      case 3: d
      case 4: e
      default: f
      }
    }
  }

  /// Bᵀ times it.
  @inline(__always)
  var seen: Six {
    let (even, odd) = (e - 4 * c, d - 4 * b)
    let (outer, inner) = (e - c, 2 * (d - b))
    return Six(
      4 * a - 5 * c + e, even + odd, even - odd, outer + inner, outer - inner, 4 * b - 5 * d + f)
  }

  /// Aᵀ times it; the last two are nothing.
  @inline(__always)
  var made: Six {
    let (s1, d1, s2, d2) = (b + c, b - c, d + e, d - e)
    return Six(a + s1 + s2, d1 + 2 * d2, s1 + 4 * s2, d1 + 8 * d2 + f, .zero, .zero)
  }
}
