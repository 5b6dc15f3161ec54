/// Vigna's SplitMix64: from a seed the same numbers on every machine, which the standard library does not promise for the
/// way it turns them into a range.
struct SplitMix64 {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  /// A number from 0 up to a bound, which is far too small for the bias of this to be seen.
  mutating func next(below bound: Int) -> Int {
    Int(next().multipliedFullWidth(by: UInt64(bound)).high)
  }

  /// So many different numbers below a bound, in random order: the first steps of a shuffle.
  mutating func distinct(_ count: Int, below bound: Int) -> [Int] {
    var numbers = Array(0..<bound)
    for place in 0..<count {
      numbers.swapAt(place, place + next(below: bound - place))
    }
    return Array(numbers.prefix(count))
  }
}
