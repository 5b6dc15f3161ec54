// B sequences, L tokens, C width (a multiple of 8), H heads, P head size. A unit is a row.

/// LN(x)(1 + s) + b in one pass over memory: LN without affine, s and b the same for a sequence's tokens.
public struct ModulatedNorm: @unchecked Sendable {
  let tokens: Int
  let width: Int
  let epsilon: Float
  let input: Rows
  let onePlusScale: Rows
  let shift: Rows
  let output: Rows

  /// - Parameters:
  ///   - input: `[B, L, C]`
  ///   - onePlusScale: `[B, 1, C]`
  ///   - shift: `[B, 1, C]`
  ///   - output: `[B, L, C]`
  public init(
    tokens: Int, width: Int, epsilon: Float, input: Rows, onePlusScale: Rows, shift: Rows,
    output: Rows
  ) {
    (self.tokens, self.width, self.epsilon) = (tokens, width, epsilon)
    (self.input, self.onePlusScale, self.shift) = (input, onePlusScale, shift)
    self.output = output
  }

  public func run(_ units: Range<Int>, _ type: KernelType) {
    withRow(width) { row in
      switch type {
      case .float32: for unit in units { normalize(unit, row, Float.self) }
      case .bfloat16: for unit in units { normalize(unit, row, BFloat16.self) }
      }
    }
  }

  private func normalize<E: Element>(_ unit: Int, _ row: MutableNumbers, _ type: E.Type) {
    let (b, l) = unit.quotientAndRemainder(dividingBy: tokens)
    let source = input.row(b, l, of: type)
    for i in stride(from: 0, to: width, by: 8) { Float.put(E.lanes(source + i), row + i) }
    let mean = Lanes.all(total(row, width) { $0 } / Float(width))
    let variance = total(row, width) { ($0 - mean) * ($0 - mean) } / Float(width)
    let factor = Lanes.all(1 / (variance + epsilon).squareRoot())
    let (scale, shift) = (onePlusScale.row(b, 0, of: type), shift.row(b, 0, of: type))
    let result = output.row(b, l, of: type)
    for i in stride(from: 0, to: width, by: 8) {
      let normal = (Float.lanes(row + i) - mean) * factor
      E.put(E.lanes(shift + i).addingProduct(normal, E.lanes(scale + i)), result + i)
    }
  }
}

/// RMSNorm(y SiLU(z)) w in one pass over memory.
public struct GatedNorm: @unchecked Sendable {
  let tokens: Int
  let width: Int
  let epsilon: Float
  let input: Rows
  let gate: Rows
  let weight: UnsafeMutableRawPointer
  let output: Rows

  /// - Parameters:
  ///   - input: y, `[B, L, C]`.
  ///   - gate: z, `[B, L, C]`.
  ///   - weight: w, `[C]`.
  ///   - output: `[B, L, C]`; may be `input`.
  public init(
    tokens: Int, width: Int, epsilon: Float, input: Rows, gate: Rows,
    weight: UnsafeMutableRawPointer, output: Rows
  ) {
    (self.tokens, self.width, self.epsilon) = (tokens, width, epsilon)
    (self.input, self.gate, self.weight, self.output) = (input, gate, weight, output)
  }

  public func run(_ units: Range<Int>, _ type: KernelType) {
    withRow(width) { row in
      switch type {
      case .float32: for unit in units { normalize(unit, row, Float.self) }
      case .bfloat16: for unit in units { normalize(unit, row, BFloat16.self) }
      }
    }
  }

  private func normalize<E: Element>(_ unit: Int, _ row: MutableNumbers, _ type: E.Type) {
    let (b, l) = unit.quotientAndRemainder(dividingBy: tokens)
    let (source, gate) = (input.row(b, l, of: type), gate.row(b, l, of: type))
    for i in stride(from: 0, to: width, by: 8) {
      Float.put(E.lanes(source + i) * E.lanes(gate + i).silu, row + i)
    }
    let square = total(row, width) { $0 * $0 } / Float(width)
    let factor = Lanes.all(1 / (square + epsilon).squareRoot())
    let weight = weight.assumingMemoryBound(to: E.self)
    let result = output.row(b, l, of: type)
    for i in stride(from: 0, to: width, by: 8) {
      E.put(Float.lanes(row + i) * factor * E.lanes(weight + i), result + i)
    }
  }
}

/// Makes queries and keys unit vectors where they are; queries are multiplied by their head's scale.
public struct QueryKeyNorm: @unchecked Sendable {
  let tokens: Int
  let heads: Int
  let headSize: Int
  let rows: Rows
  let scales: UnsafePointer<Float>

  /// - Parameters:
  ///   - rows: q, k and v next to each other, `[B, L, 3 H P]`; 8 divides P.
  ///   - scales: `[H]`
  public init(
    tokens: Int, heads: Int, headSize: Int, rows: Rows, scales: UnsafePointer<Float>
  ) {
    (self.tokens, self.heads, self.headSize) = (tokens, heads, headSize)
    (self.rows, self.scales) = (rows, scales)
  }

  public func run(_ units: Range<Int>, _ type: KernelType) {
    switch type {
    case .float32: for unit in units { normalize(unit, Float.self) }
    case .bfloat16: for unit in units { normalize(unit, BFloat16.self) }
    }
  }

  private func normalize<E: Element>(_ unit: Int, _ type: E.Type) {
    let (b, l) = unit.quotientAndRemainder(dividingBy: tokens)
    let row = rows.row(b, l, of: type)
    for vector in 0..<2 * heads {
      let place = row + vector * headSize
      var squares = Lanes.zero
      for i in stride(from: 0, to: headSize, by: 8) {
        let values = E.lanes(place + i)
        squares = squares.addingProduct(values, values)
      }
      let length = max(squares.sum().squareRoot(), 1e-12)
      let factor = Lanes.all((vector < heads ? scales[vector] : 1) / length)
      for i in stride(from: 0, to: headSize, by: 8) {
        E.put(E.lanes(place + i) * factor, place + i)
      }
    }
  }
}

/// Room for one row in float32.
private func withRow(_ width: Int, _ body: (MutableNumbers) -> Void) {
  withUnsafeTemporaryAllocation(of: Float.self, capacity: width) { body($0.baseAddress!) }
}

/// The sum of a function of each of `count` numbers; 8 divides `count`. Four sums side by side keep the adders busy.
@inline(__always)
private func total(_ numbers: Numbers, _ count: Int, _ term: (Lanes) -> Lanes) -> Float {
  var (a, b, c, d) = (Lanes.zero, Lanes.zero, Lanes.zero, Lanes.zero)
  var i = 0
  while i + 32 <= count {
    a += term(Float.lanes(numbers + i))
    b += term(Float.lanes(numbers + i + 8))
    c += term(Float.lanes(numbers + i + 16))
    d += term(Float.lanes(numbers + i + 24))
    i += 32
  }
  while i < count {
    a += term(Float.lanes(numbers + i))
    i += 8
  }
  return ((a + b) + (c + d)).sum()
}
