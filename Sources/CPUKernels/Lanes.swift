/// Eight numbers in the registers of the processor: AVX2 holds them in one.
typealias Lanes = SIMD8<Float>

/// A type that kernels read and write; they compute in float32.
protocol Element {
  static func number(_ source: UnsafePointer<Self>) -> Float
  static func lanes(_ source: UnsafePointer<Self>) -> Lanes
  static func put(_ lanes: Lanes, _ destination: UnsafeMutablePointer<Self>)
}

extension Float: Element {
  @inline(__always)
  static func number(_ source: UnsafePointer<Float>) -> Float { source.pointee }

  @inline(__always)
  static func lanes(_ source: UnsafePointer<Float>) -> Lanes {
    UnsafeRawPointer(source).loadUnaligned(as: Lanes.self)
  }

  @inline(__always)
  static func put(_ lanes: Lanes, _ destination: UnsafeMutablePointer<Float>) {
    UnsafeMutableRawPointer(destination).storeBytes(of: lanes, as: Lanes.self)
  }
}

/// The upper half of a float32.
struct BFloat16: Element {
  var bits: UInt16

  @inline(__always)
  static func number(_ source: UnsafePointer<BFloat16>) -> Float {
    Float(bitPattern: UInt32(source.pointee.bits) << 16)
  }

  @inline(__always)
  static func lanes(_ source: UnsafePointer<BFloat16>) -> Lanes {
    let bits = UnsafeRawPointer(source).loadUnaligned(as: SIMD8<UInt16>.self)
    // The library's conversions of vectors are not always inlined; lane by lane the compiler makes one instruction of it.
    var wide = SIMD8<UInt32>.zero
    for lane in 0..<8 { wide[lane] = UInt32(bits[lane]) }
    return unsafeBitCast(wide &<< 16, to: Lanes.self)
  }

  /// Rounds to the nearest, ties to even.
  @inline(__always)
  static func put(_ lanes: Lanes, _ destination: UnsafeMutablePointer<BFloat16>) {
    let bits = unsafeBitCast(lanes, to: SIMD8<UInt32>.self)
    let rounded = (bits &+ 0x7FFF &+ ((bits &>> 16) & 1)) &>> 16
    var narrow = SIMD8<UInt16>.zero
    for lane in 0..<8 { narrow[lane] = UInt16(truncatingIfNeeded: rounded[lane]) }
    UnsafeMutableRawPointer(destination).storeBytes(of: narrow, as: SIMD8<UInt16>.self)
  }
}

extension Lanes {
  @inline(__always)
  static func all(_ value: Float) -> Lanes { Lanes(repeating: value) }

  /// exp(x) to two units in the last place; 0 below the smallest normal number.
  ///
  /// x = n ln 2 + r: a polynomial for r, the exponent for n (Cephes' expf).
  @inline(__always)
  var exponential: Lanes {
    let x = replacing(with: 88.37, where: self .> 88.37)
    // Added to it, a number is rounded to an integer, which stands in the low bits.
    let magic = Lanes.all(0x1.8p23)
    let shifted = magic.addingProduct(x, .all(1.442_695_04))
    let n = shifted - magic
    var r = x.addingProduct(n, .all(-0.693_359_375))
    r = r.addingProduct(n, .all(2.121_944_4e-4))
    var p = Lanes.all(1.987_569_15e-4)
    p = Lanes.all(1.398_199_95e-3).addingProduct(p, r)
    p = Lanes.all(8.333_451_91e-3).addingProduct(p, r)
    p = Lanes.all(4.166_579_59e-2).addingProduct(p, r)
    p = Lanes.all(1.666_666_55e-1).addingProduct(p, r)
    p = Lanes.all(0.5).addingProduct(p, r)
    p = (r + 1).addingProduct(p, r * r)
    let exponent = (unsafeBitCast(shifted, to: SIMD8<UInt32>.self) &+ 127) &<< 23
    let y = p * unsafeBitCast(exponent, to: Lanes.self)
    return y.replacing(with: 0, where: self .< -87.33)
  }

  /// x / (1 + exp(−x))
  @inline(__always)
  var silu: Lanes { self / ((-self).exponential + 1) }

  /// log(1 + exp(x)) = max(x, 0) + log(1 + e) with e = exp(−|x|), where log(1 + e) = 2 artanh(e / (2 + e)): a series of which
  /// eight terms are enough, for e is at most 1.
  @inline(__always)
  var softplus: Lanes {
    let size = replacing(with: -self, where: self .< 0)
    let e = (-size).exponential
    let s = e / (e + 2)
    let square = s * s
    var p = Lanes.all(2.0 / 15)
    p = Lanes.all(2.0 / 13).addingProduct(p, square)
    p = Lanes.all(2.0 / 11).addingProduct(p, square)
    p = Lanes.all(2.0 / 9).addingProduct(p, square)
    p = Lanes.all(2.0 / 7).addingProduct(p, square)
    p = Lanes.all(2.0 / 5).addingProduct(p, square)
    p = Lanes.all(2.0 / 3).addingProduct(p, square)
    p = Lanes.all(2).addingProduct(p, square)
    return replacing(with: 0, where: self .< 0).addingProduct(p, s)
  }
}
