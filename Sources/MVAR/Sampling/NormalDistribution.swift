import Foundation

/// The standard normal distribution.
enum NormalDistribution {
  /// Φ(z), the probability of less than z.
  static func cumulative(_ z: Double) -> Double { 0.5 * erfc(-z / 2.0.squareRoot()) }

  /// Φ⁻¹(p) for p in (0, 1), to about 10⁻¹⁵.
  ///
  /// A first guess from Winitzki's approximation of the error function (2008), then Newton's method on
  /// Φ, from the nearer tail, where its values have all their digits.
  static func quantile(_ p: Double) -> Double {
    guard p != 0.5 else { return 0 }
    let tail = min(p, 1 - p)
    var z = guess(tail)
    for _ in 0..<8 {
      let density = exp(-z * z / 2) / (2 * Double.pi).squareRoot()
      let step = (cumulative(z) - tail) / density
      z -= step
      if abs(step) < 1e-15 * abs(z) { break }
    }
    return p < 0.5 ? z : -z
  }

  /// Φ⁻¹(p) for p in (0, 1/2), to about 1 %.
  private static func guess(_ p: Double) -> Double {
    let a = 0.147
    let x = 2 * p - 1
    let logarithm = log(1 - x * x)
    let half = 2 / (.pi * a) + logarithm / 2
    return -2.0.squareRoot() * ((half * half - logarithm / a).squareRoot() - half).squareRoot()
  }
}
