import Foundation
import Torch

/// Random weights by a formula that `Tests/Fixtures/evaluation/make.py` has too, so that 90 MB of
/// weights need not be stored: numbers of one table, from a place that the name tells.
public final class FormulaSource: ParameterSource {
  static let period = 1_000_003

  public init() {}

  public var names: [String]? { nil }

  public func shape(of name: String, expected: [Int]) -> [Int]? { expected }

  public func tensor(_ name: String, shape: [Int], dtype: DType, device: Device) throws -> Tensor {
    try withTorchErrors {
      let count = shape.reduce(1, *)
      let start = Int(Self.hash(name) % UInt64(Self.period))
      // From that place on, round and round.
      let round = Self.table.slice(0, start..<start + min(count, Self.period))
      let repeats = (count + Self.period - 1) / Self.period
      let values = repeats == 1 ? round : round.repeated(repeats).slice(0, 0..<count)
      let (scale, centre) = Self.scale(name, shape)
      return (values * scale + centre).reshape(shape).to(dtype, device: device, copy: true)
    }
  }

  private static func scale(_ name: String, _ shape: [Int]) -> (scale: Double, centre: Double) {
    let inputs = Double(shape.dropFirst().reduce(1, *))
    if shape.count == 2 { return (8 / inputs.squareRoot(), 0) }
    if shape.count > 2 { return ((6 / inputs).squareRoot(), 0) }
    if name.hasSuffix("running_var") { return (0.5, 1) }
    return name.hasSuffix("weight") ? (0.2, 1) : (0.2, 0)
  }

  private static func hash(_ name: String) -> UInt64 {
    name.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
  }

  /// Twice the table, so that a round begins anywhere.
  nonisolated(unsafe) private static let table: Tensor = {
    let once = Tensor.of(FormulaPictures.words.map { Float($0 >> 40) * 0x1p-23 - 1 })
    return .concatenate([once, once], axis: 0)
  }()
}

/// Pictures by a formula that `Tests/Fixtures/evaluation/make.py` has too.
public enum FormulaPictures {
  public static let side = 64

  /// Vigna's SplitMix64 with seed 0, number by number.
  static let words: [UInt64] = (1...UInt64(FormulaSource.period)).map { index in
    var x = index &* 0x9E37_79B9_7F4A_7C15
    x = (x ^ (x >> 30)) &* 0xBF58_476D_1CE4_E5B9
    x = (x ^ (x >> 27)) &* 0x94D0_49BB_1331_11EB
    return x ^ (x >> 31)
  }

  /// `[64, 64, 3]`: waves of two directions, noise, and a contrast of its own.
  public static func pixels(_ index: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(side * side * 3)
    for y in 0..<side {
      for x in 0..<side {
        for c in 0..<3 { bytes.append(value(index, y, x, c)) }
      }
    }
    return bytes
  }

  private static func value(_ index: Int, _ y: Int, _ x: Int, _ c: Int) -> UInt8 {
    let wave = triangle(
      x * (1 + index % 7) * 16 + y * (index % 5) * 24 + c * (index % 3) * 90)
    let place = (index * 7919 + (y * side + x) * 3 + c) % FormulaSource.period
    let noise = Int(words[place] >> 56)
    let mixed = (wave * (16 - index % 8) + noise * (index % 8)) / 16
    let contrast = (mixed - 128) * (4 + index * 5 % 13)
    // Rounded down, as Python does.
    let scaled = contrast >= 0 ? contrast / 12 : -((11 - contrast) / 12)
    return UInt8(min(max(128 + scaled, 0), 255))
  }

  private static func triangle(_ x: Int) -> Int { abs(x % 512 - 256) * 255 / 256 }
}
