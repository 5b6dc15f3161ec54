/// How long batches of each size take, as measured, for telling clients how long to wait.
struct BatchTimes {
  /// Recent seconds by size; newer measurements weigh more.
  private var seconds: [Int: Double] = [:]
  private static let weight = 0.3

  mutating func add(size: Int, seconds measured: Double) {
    let old = seconds[size] ?? measured
    seconds[size] = old + Self.weight * (measured - old)
  }

  /// The seconds of a batch of a size, or nil before the first.
  ///
  /// A size that was never measured takes as long as the next larger one, or longer than the largest
  /// in proportion.
  func estimate(size: Int) -> Double? {
    if let known = seconds.keys.filter({ $0 >= size }).min() { return seconds[known] }
    guard let largest = seconds.keys.max() else { return nil }
    return seconds[largest]! * Double(size) / Double(largest)
  }

  /// The seconds until so many pictures are done, in batches of at most `limit`; nil before the first
  /// measurement.
  func estimate(pictures: Int, limit: Int) -> Double? {
    guard pictures > 0 else { return 0 }
    let (whole, rest) = pictures.quotientAndRemainder(dividingBy: limit)
    guard let full = estimate(size: min(pictures, limit)) else { return nil }
    return Double(whole) * full + (rest > 0 ? estimate(size: rest) ?? full : 0)
  }
}

extension Duration {
  var inSeconds: Double {
    Double(components.seconds) + Double(components.attoseconds) * 1e-18
  }
}
