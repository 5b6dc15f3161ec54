/// A stream of random numbers that depend on nothing but a seed and their place in the stream.
///
/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): number `i` is
/// a function of (seed, i), so that a picture's numbers are the same whatever else is drawn.
public struct PhiloxStream: Sendable {
  private let key: (UInt32, UInt32)

  public init(seed: UInt64) {
    key = (UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32))
  }

  /// The four words of one block.
  ///
  /// - Parameter domain: Keeps apart streams for different uses of one seed.
  public func block(_ index: UInt64, domain: UInt64 = 0) -> SIMD4<UInt32> {
    var counter = SIMD4(
      UInt32(truncatingIfNeeded: index), UInt32(truncatingIfNeeded: index >> 32),
      UInt32(truncatingIfNeeded: domain), UInt32(truncatingIfNeeded: domain >> 32))
    var key = key
    for _ in 0..<10 {
      let a = UInt64(counter[0]) &* 0xD251_1F53
      let b = UInt64(counter[2]) &* 0xCD9E_8D57
      counter = SIMD4(
        UInt32(b >> 32) ^ counter[1] ^ key.0, UInt32(truncatingIfNeeded: b),
        UInt32(a >> 32) ^ counter[3] ^ key.1, UInt32(truncatingIfNeeded: a))
      key = (key.0 &+ 0x9E37_79B9, key.1 &+ 0xBB67_AE85)
    }
    return counter
  }

  /// `count` numbers in [0, 1) from the start of a domain, each a multiple of 2⁻²³, so that all are
  /// exact in float32 and below 1.
  public func uniforms(_ count: Int, domain: UInt64) -> [Float] {
    var numbers: [Float] = []
    numbers.reserveCapacity(count + 3)
    for index in 0..<UInt64((count + 3) / 4) {
      let words = block(index, domain: domain) &>> 9
      for lane in 0..<4 { numbers.append(Float(words[lane]) * 0x1p-23) }
    }
    numbers.removeLast(numbers.count - count)
    return numbers
  }
}
