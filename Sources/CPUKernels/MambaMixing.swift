// B sequences, L tokens, H heads, P head dimension, N state; G groups of four tokens, the last one filled up.

/// What a Mamba-2 layer does between its projections, in two passes: the recurrence as it is, with four tokens at a time
/// while a part of the state is in the registers.
///
/// For tokens 1…4 after a state h, with eᵢ the decay up to token i and e(j,i) that from j to i:
///
///     yᵢ = eᵢ (h Cᵢ) + Σ j≤i  e(j,i) (Bⱼ·Cᵢ) uⱼ        u = dt x
///     h ← e₄ h + Σ j  e(j,4) uⱼ ⊗ Bⱼ
public struct MambaMixing: @unchecked Sendable {
  public static let headSize = 64
  public static let stateSize = 64

  let batch: Int
  let tokens: Int
  let heads: Int
  let input: Rows
  let before: Rows
  let parameters: Parameters
  let steps: Rows
  let weights: MutableNumbers
  let scores: MutableNumbers
  let state: MutableNumbers
  let output: Rows

  /// What a layer has learnt; float32.
  public struct Parameters: @unchecked Sendable {
    let taps: Numbers
    let bias: Numbers
    let stepBias: Numbers
    let a: Numbers
    let d: Numbers

    /// - Parameters:
    ///   - taps: The convolution's weight, `[4, channels]`.
    ///   - bias: The convolution's, `[channels]`.
    ///   - stepBias: `[H]`
    ///   - a: Negative decay rates, `[H]`.
    ///   - d: `[H]`
    public init(
      taps: UnsafePointer<Float>, bias: UnsafePointer<Float>, stepBias: UnsafePointer<Float>,
      a: UnsafePointer<Float>, d: UnsafePointer<Float>
    ) {
      (self.taps, self.bias, self.stepBias, self.a, self.d) = (taps, bias, stepBias, a, d)
    }
  }

  /// - Parameters:
  ///   - input: x, B and C before the convolution, `[B, L, H P + 2 N]`.
  ///   - before: The three rows before them, `[B, 3, H P + 2 N]`.
  ///   - steps: dt before its bias and softplus, `[B, L, H]`.
  ///   - scratch: ``scratchCount(batch:tokens:)`` float32 numbers.
  ///   - state: h before the first token and after the last, float32 `[B, H, N, P]`.
  ///   - output: `[B, L, H P]`
  public init(
    batch: Int, tokens: Int, heads: Int, input: Rows, before: Rows, parameters: Parameters,
    steps: Rows, scratch: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, output: Rows
  ) {
    (self.batch, self.tokens, self.heads) = (batch, tokens, heads)
    (self.input, self.before, self.parameters) = (input, before, parameters)
    (self.steps, self.state, self.output) = (steps, state, output)
    weights = scratch
    scores = scratch + batch * Self.groups(tokens) * Self.weightCount
  }

  public static func scratchCount(batch: Int, tokens: Int) -> Int {
    batch * groups(tokens) * (weightCount + 16)
  }

  static func groups(_ tokens: Int) -> Int { (tokens + 3) / 4 }
  /// B and C of a group: B₁…B₄ C₁…C₄ for each place of the state.
  static let weightCount = stateSize * 8
  var groups: Int { Self.groups(tokens) }

  /// The units of the first pass, which prepares what all heads share.
  public var preparations: Int { batch * groups }
  /// The units of the second pass: a head of a sequence each.
  public var scans: Int { batch * heads }

  public func prepare(_ units: Range<Int>, _ type: KernelType) {
    switch type {
    case .float32: for unit in units { prepareGroup(unit, Float.self) }
    case .bfloat16: for unit in units { prepareGroup(unit, BFloat16.self) }
    }
  }

  public func scan(_ units: Range<Int>, _ type: KernelType) {
    withUnsafeTemporaryAllocation(of: Float.self, capacity: 4 * Self.headSize) { buffer in
      let buffer = buffer.baseAddress!
      switch type {
      case .float32: for unit in units { scanHead(unit, buffer, Float.self) }
      case .bfloat16: for unit in units { scanHead(unit, buffer, BFloat16.self) }
      }
    }
  }

  // MARK: Convolution

  /// The causal convolution and SiLU of token `t` at `channel` and the seven after it.
  @inline(__always)
  private func convolved<E: Element>(_ b: Int, _ t: Int, _ channel: Int, _ type: E.Type) -> Lanes {
    let channels = heads &* Self.headSize &+ 2 &* Self.stateSize
    var sum = Float.lanes(parameters.bias + channel)
    for tap in 0..<4 {
      let row = t &+ tap &- 3
      let source =
        row < 0 ? before.row(b, row &+ 3, of: type) : input.row(b, row, of: type)
      sum = sum.addingProduct(
        E.lanes(source + channel), Float.lanes(parameters.taps + (tap &* channels &+ channel)))
    }
    return sum.silu
  }

  // MARK: What heads share

  private func prepareGroup<E: Element>(_ unit: Int, _ type: E.Type) {
    let (b, group) = unit.quotientAndRemainder(dividingBy: groups)
    let weights = weights + unit * Self.weightCount
    let channel = heads * Self.headSize
    for token in 0..<4 {
      let t = group * 4 + token
      for n in stride(from: 0, to: 2 * Self.stateSize, by: 8) {
        let values = t < tokens ? convolved(b, t, channel + n, type) : .zero
        let (isC, place) = n.quotientAndRemainder(dividingBy: Self.stateSize)
        for lane in 0..<8 { weights[(place + lane) * 8 + isC * 4 + token] = values[lane] }
      }
    }
    score(weights, scores + unit * 16)
  }

  /// Bⱼ·Cᵢ at `4 i + j`.
  private func score(_ weights: Numbers, _ scores: MutableNumbers) {
    var sums = (Lanes.zero, Lanes.zero)
    for n in 0..<Self.stateSize {
      let both = Float.lanes(weights + n * 8)
      let (b, c) = (both.lowHalf, both.highHalf)
      sums.0 += Lanes(lowHalf: b * c[0], highHalf: b * c[1])
      sums.1 += Lanes(lowHalf: b * c[2], highHalf: b * c[3])
    }
    Float.put(sums.0, scores)
    Float.put(sums.1, scores + 8)
  }

  // MARK: The scan

  /// - Parameter buffer: Room for x of four tokens.
  private func scanHead<E: Element>(_ unit: Int, _ buffer: MutableNumbers, _ type: E.Type) {
    let (b, head) = unit.quotientAndRemainder(dividingBy: heads)
    let state = state + unit * Self.stateSize * Self.headSize
    for group in 0..<groups {
      let first = group * 4
      let count = min(4, tokens - first)
      for token in 0..<4 {
        for p in stride(from: 0, to: Self.headSize, by: 8) {
          // Tokens that are not there must be numbers too: they are multiplied by zero.
          let x =
            token < count
            ? convolved(b, first + token, head * Self.headSize + p, type) : .zero
          Float.put(x, buffer + (token * Self.headSize + p))
        }
      }
      let factors = Factors(
        steps: dt(b, first, count, head, type), rate: parameters.a[head],
        scores: scores + (b * groups + group) * 16, skip: parameters.d[head])
      let weights = weights + (b * groups + group) * Self.weightCount
      for p in stride(from: 0, to: Self.headSize, by: 8) {
        let y = advance(state + p, weights, buffer + p, factors)
        let place = head * Self.headSize + p
        for token in 0..<count {
          E.put(y[token], output.row(b, first + token, of: type) + place)
        }
      }
    }
  }

  /// dt of four tokens; zero for those that are not there, which leave the state as it is.
  @inline(__always)
  private func dt<E: Element>(_ b: Int, _ first: Int, _ count: Int, _ head: Int, _ type: E.Type)
    -> SIMD4<Float>
  {
    var raw = Lanes.zero
    for token in 0..<count {
      raw[token] = E.number(steps.row(b, first + token, of: type) + head)
    }
    var dt = (raw + parameters.stepBias[head]).softplus.lowHalf
    for token in count..<4 { dt[token] = 0 }
    return dt
  }

  /// Takes eight columns of a head's state, `[N, P]`, over four tokens.
  @inline(__always)
  private func advance(
    _ state: MutableNumbers, _ weights: Numbers, _ x: Numbers, _ factors: Factors
  ) -> Four {
    let x = Four(
      Float.lanes(x), Float.lanes(x + 64), Float.lanes(x + 128), Float.lanes(x + 192))
    let (u0, u1) = (x[0] * factors.toEnd[0], x[1] * factors.toEnd[1])
    let (u2, u3) = (x[2] * factors.toEnd[2], x[3] * factors.toEnd[3])
    var (y0, y1, y2, y3) = (Lanes.zero, Lanes.zero, Lanes.zero, Lanes.zero)
    let decay = Lanes.all(factors.fromStart[3])
    var (place, weight) = (state, weights)
    for _ in 0..<Self.stateSize {
      let h = Float.lanes(place)
      y0 = y0.addingProduct(h, .all(weight[4]))
      y1 = y1.addingProduct(h, .all(weight[5]))
      y2 = y2.addingProduct(h, .all(weight[6]))
      y3 = y3.addingProduct(h, .all(weight[7]))
      var next = h * decay
      next = next.addingProduct(u0, .all(weight[0]))
      next = next.addingProduct(u1, .all(weight[1]))
      next = next.addingProduct(u2, .all(weight[2]))
      next = next.addingProduct(u3, .all(weight[3]))
      Float.put(next, place)
      place += Self.headSize
      weight += 8
    }
    return factors.outputs(fromState: Four(y0, y1, y2, y3), x)
  }
}

/// Eight numbers of each of four tokens.
private struct Four {
  private var tokens: (Lanes, Lanes, Lanes, Lanes)

  @inline(__always)
  init(_ a: Lanes, _ b: Lanes, _ c: Lanes, _ d: Lanes) { tokens = (a, b, c, d) }

  subscript(token: Int) -> Lanes {
    @inline(__always) get {
      switch token {
      case 0: tokens.0
      case 1: tokens.1
      case 2: tokens.2
      default: tokens.3
      }
    }
    @inline(__always) set {
      switch token {
      case 0: tokens.0 = newValue
      case 1: tokens.1 = newValue
      case 2: tokens.2 = newValue
      default: tokens.3 = newValue
      }
    }
  }
}

/// What the numbers of four tokens and one head are multiplied by.
private struct Factors {
  /// Decays from before the first token up to and with each.
  let fromStart: SIMD4<Float>
  /// dtⱼ times the decay from token j to the last.
  let toEnd: SIMD4<Float>
  /// Of xⱼ in yᵢ at `4 i + j`; zero for j > i.
  let inside: SIMD16<Float>

  /// - Parameters:
  ///   - steps: dt after softplus.
  ///   - rate: A
  ///   - scores: Bⱼ·Cᵢ at `4 i + j`.
  ///   - skip: D
  @inline(__always)
  init(steps dt: SIMD4<Float>, rate: Float, scores: Numbers, skip: Float) {
    var sums = dt * rate
    sums[1] += sums[0]
    sums[2] += sums[1]
    sums[3] += sums[2]
    let last = SIMD4<Float>(repeating: sums[3])
    let ends = Lanes(lowHalf: sums, highHalf: last - sums).exponential
    fromStart = ends.lowHalf
    toEnd = ends.highHalf * dt
    var inside = SIMD16<Float>.zero
    for half in 0..<2 {
      let (i, next) = (2 * half, 2 * half + 1)
      let exponents = Lanes(
        lowHalf: SIMD4(repeating: sums[i]) - sums, highHalf: SIMD4(repeating: sums[next]) - sums)
      // Later tokens' decays would overflow; they do not count.
      let decays = exponents.replacing(with: 0, where: exponents .> 0).exponential
      let values = decays * Float.lanes(scores + 8 * half) * Lanes(lowHalf: dt, highHalf: dt)
      if half == 0 { inside.lowHalf = values } else { inside.highHalf = values }
    }
    for (i, j) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] { inside[4 * i + j] = 0 }
    for i in 0..<4 { inside[5 * i] += skip }
    self.inside = inside
  }

  /// y of four tokens from what the state gives, h C, and from x.
  @inline(__always)
  func outputs(fromState y: Four, _ x: Four) -> Four {
    var y = y
    for i in 0..<4 {
      var sum = y[i] * fromStart[i]
      for j in 0...i { sum = sum.addingProduct(x[j], .all(inside[4 * i + j])) }
      y[i] = sum
    }
    return y
  }
}
