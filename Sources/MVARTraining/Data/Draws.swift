import Torch

/// A row of random numbers that belongs to one purpose, epoch and place, whatever was drawn elsewhere
/// and by however many threads.
struct Draws {
  /// What numbers are for, so that no two uses share any.
  enum Purpose: UInt64 {
    case order = 1
    case augmentation = 2
    case substitute = 3
    case choice = 4
    case code = 5
    case scales = 6
    case wrong = 7
  }

  private let stream: PhiloxStream
  private let domain: UInt64
  private var block = SIMD4<UInt32>()
  private var index: UInt64 = 0

  /// - Parameter epoch: Below 2²⁴.
  /// - Parameter place: Below 2³⁶.
  init(seed: UInt64, _ purpose: Purpose, epoch: Int, place: Int = 0) {
    stream = PhiloxStream(seed: seed)
    domain = purpose.rawValue << 60 | UInt64(epoch & 0xFF_FFFF) << 36 | UInt64(place)
  }

  private mutating func word() -> UInt64 {
    let lane = Int(index & 3)
    if lane == 0 { block = stream.block(index >> 2, domain: domain) }
    index += 1
    return UInt64(block[lane])
  }

  /// A number in [0, 1).
  mutating func uniform() -> Double { Double(word()) * 0x1p-32 }

  /// A number in [−limit, limit).
  mutating func symmetric(_ limit: Double) -> Double { (2 * uniform() - 1) * limit }

  /// A whole number in 0 ..< bound, each as likely to within 2⁻⁶⁴.
  mutating func below(_ bound: Int) -> Int {
    let wide = word() << 32 | word()
    return Int(wide.multipliedFullWidth(by: UInt64(bound)).high)
  }
}
