import Testing
import Torch

@Suite struct PhiloxStreamTests {
  struct Vector: Sendable {
    let counter: SIMD4<UInt32>
    let key: SIMD2<UInt32>
    let output: SIMD4<UInt32>
  }

  /// Of `kat_vectors` in the Random123 distribution (philox4x32 10).
  static let vectors = [
    Vector(
      counter: [0, 0, 0, 0], key: [0, 0],
      output: [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
    Vector(
      counter: .init(repeating: .max), key: .init(repeating: .max),
      output: [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
    Vector(
      counter: [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
      key: [0xa409_3822, 0x299f_31d0],
      output: [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]),
  ]

  @Test(arguments: vectors) func knownAnswers(_ vector: Vector) {
    func join(_ low: UInt32, _ high: UInt32) -> UInt64 { UInt64(high) << 32 | UInt64(low) }
    let stream = PhiloxStream(seed: join(vector.key[0], vector.key[1]))
    let block = stream.block(
      join(vector.counter[0], vector.counter[1]), domain: join(vector.counter[2], vector.counter[3])
    )
    #expect(block == vector.output)
  }

  /// The top 23 bits of the first vector's words.
  @Test func uniformsAreTheTopBitsOfTheBlocks() {
    let words: [UInt32] = [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
    #expect(
      PhiloxStream(seed: 0).uniforms(4, domain: 0) == words.map { Float($0 >> 9) / 8_388_608 })
  }

  @Test func uniformsFillTheUnitInterval() {
    let numbers = PhiloxStream(seed: 5).uniforms(40_000, domain: 3)
    #expect(numbers.allSatisfy { $0 >= 0 && $0 < 1 })
    for bin in 0..<10 {
      let count = numbers.count { Int($0 * 10) == bin }
      // Five standard deviations of a binomial distribution with p = 0.1.
      #expect(abs(Double(count) - 4000) < 5 * 60, "bin \(bin)")
    }
    let mean = Double(numbers.reduce(0, +)) / 40_000
    #expect(abs(mean - 0.5) < 5 / (12 * 40_000.0).squareRoot())
  }

  @Test(arguments: [0, 1, 2, 3, 4, 5, 8, 11]) func aShorterDrawIsAPrefix(count: Int) {
    let stream = PhiloxStream(seed: .max)
    let long = stream.uniforms(12, domain: 7)
    #expect(stream.uniforms(count, domain: 7) == Array(long.prefix(count)))
  }

  @Test func seedsAndDomainsAreKeptApart() {
    let draws = [UInt64(0), 1, 1 << 32, .max].flatMap { seed in
      [UInt64(0), 1, 1 << 8, 1 << 32].map { PhiloxStream(seed: seed).uniforms(8, domain: $0) }
    }
    #expect(Set(draws).count == 16)
  }
}
