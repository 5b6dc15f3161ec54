import Foundation
import Torch

/// A range in which a figure lies with 95 % confidence.
public struct ConfidenceInterval: Sendable, Equatable, Codable {
  public let low: Double
  public let high: Double
  public let resamples: Int
}

extension FrechetDistance {
  /// The interval of the distance of a set, by drawing sets of its size from it with replacement.
  ///
  /// Fréchet distances of smaller or repeated sets are larger, and so are those of the resamples; their
  /// spread counts, moved to where the distance itself is.
  ///
  /// - Parameter features: `[N, D]`
  /// - Parameter progress: Told after each resample.
  public func interval(
    of features: Tensor, distance: Double, resamples: Int, seed: UInt64 = 0,
    progress: (Int) throws -> Void = { _ in }
  ) throws -> ConfidenceInterval {
    let N = features.length(0)
    // Room is made as they come: a number beyond all memory would not be refused, but corrupt it.
    var values: [Double] = []
    for index in 0..<resamples {
      let value = try withTorchErrors {
        let (mean, covariance) = Self.moments(features, weights(N, seed, index))
        return try self.distance(mean: mean, covariance: covariance)
      }
      values.append(value)
      try progress(index + 1)
    }
    values.sort()
    let shift = distance - values.reduce(0, +) / Double(resamples)
    func quantile(_ share: Double) -> Double {
      let place = share * Double(values.count - 1)
      let (low, high) = (Int(place), min(Int(place) + 1, values.count - 1))
      return values[low] + (values[high] - values[low]) * (place - Double(low)) + shift
    }
    return ConfidenceInterval(
      low: max(quantile(0.025), 0), high: quantile(0.975), resamples: resamples)
  }

  /// How often each feature is drawn.
  private func weights(_ count: Int, _ seed: UInt64, _ index: Int) -> [Double] {
    let stream = PhiloxStream(seed: seed)
    var weights = [Double](repeating: 0, count: count)
    for draw in 0..<(count + 1) / 2 {
      let words = stream.block(UInt64(draw), domain: UInt64(index) | 1 << 40)
      for lane in 0..<min(2, count - 2 * draw) {
        let word = UInt64(words[2 * lane]) | UInt64(words[2 * lane + 1]) << 32
        weights[Int(word.multipliedFullWidth(by: UInt64(count)).high)] += 1
      }
    }
    return weights
  }

  private static func moments(_ features: Tensor, _ weights: [Double]) -> (
    mean: Tensor, covariance: Tensor
  ) {
    let (N, D) = features.shape2
    let weights = Tensor.of(weights, shape: [N, 1], device: features.device)
    var sum = Tensor.zeros([D], dtype: .float64, device: features.device)
    var products = Tensor.zeros([D, D], dtype: .float64, device: features.device)
    for start in stride(from: 0, to: N, by: 4096) {
      let rows = start..<min(start + 4096, N)
      let x = features.slice(0, rows).to(.float64)
      let weighted = x * weights.slice(0, rows)
      sum += weighted.sum(0)
      products = products.adding(product: weighted.transposed, x)
    }
    let mean = sum / Double(N)
    let outer = mean.reshape(-1, 1) * mean.reshape(1, -1)
    return (mean, (products - outer * Double(N)) / Double(N - 1))
  }
}
