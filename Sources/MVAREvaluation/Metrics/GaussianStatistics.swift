import Torch

/// The mean and the covariance of a set of features, in float64.
public struct GaussianStatistics: Sendable, Equatable {
  /// How many features they are of, where that is known.
  public let count: Int?
  /// `[D]`
  public let mean: [Double]
  /// `[D, D]`, row by row; divided by the count less one, as `numpy.cov` does.
  public let covariance: [Double]

  /// - Throws: ``EvaluationError`` unless there is a number for each pair of axes and all are finite.
  public init(
    count: Int?, mean: [Double], covariance: [Double], of subject: String = "statistics"
  ) throws(EvaluationError) {
    guard !mean.isEmpty,
      mean.count.multipliedReportingOverflow(by: mean.count).partialValue == covariance.count
    else {
      throw EvaluationError(
        .malformed, subject,
        "a mean of \(mean.count) numbers and a covariance of \(covariance.count) do not fit",
        mend: "name a file with mu [D] and sigma [D, D]")
    }
    guard mean.areFinite, covariance.areFinite else {
      throw EvaluationError(
        .notFinite, subject, "its mean or covariance holds numbers that are not finite",
        mend: "make the statistics again from pictures")
    }
    (self.count, self.mean, self.covariance) = (count, mean, covariance)
  }

  /// D
  public var dimension: Int { mean.count }

  /// What to tell a user whose features are too few for the covariance to have full rank; nil where
  /// they are enough.
  public func rankWarning(_ subject: String) -> String? {
    guard let count, count <= dimension else { return nil }
    return
      "\(subject) are \(count), so that their covariance has rank \(count - 1) at most where "
      + "\(dimension) are wanted; the distance is far too large: use more than \(dimension), "
      + "50,000 to compare with published figures"
  }
}

extension [Double] {
  /// Whether no number is infinite or none at all; there may be millions.
  var areFinite: Bool {
    withUnsafeBufferPointer { numbers in
      // 0 · x is 0, or not a number.
      var (sum, index) = (0.0, 0)
      while index < numbers.count {
        sum += 0.0 * numbers[index]
        index += 1
      }
      return sum == 0
    }
  }
}

extension [Float] {
  /// As for `[Double]`.
  var areFinite: Bool {
    withUnsafeBufferPointer { numbers in
      var (sum, index): (Float, Int) = (0, 0)
      while index < numbers.count {
        sum += Float(0) * numbers[index]
        index += 1
      }
      return sum == 0
    }
  }
}

/// Sums from which mean and covariance follow, in float64, batch by batch.
final class MomentAccumulator {
  private(set) var count = 0
  private var sum: Tensor  // [D]
  private var products: Tensor  // [D, D]

  init(dimension: Int, device: Device) {
    sum = .zeros([dimension], dtype: .float64, device: device)
    products = .zeros([dimension, dimension], dtype: .float64, device: device)
  }

  /// - Parameter features: `[B, D]`
  func add(_ features: Tensor) {
    let x = features.to(.float64)
    count += x.length(0)
    sum += x.sum(0)
    products = products.adding(product: x.transposed, x)
  }

  /// - Throws: ``EvaluationError`` for less than two features, which have no covariance.
  func statistics(_ subject: String) throws -> GaussianStatistics {
    guard count > 1 else {
      throw EvaluationError(
        .pictures, subject, "\(count == 1 ? "one picture has" : "no pictures have") no covariance",
        mend: "give at least two")
    }
    let (mean, covariance) = moments()
    return try GaussianStatistics(
      count: count, mean: mean.elements(), covariance: covariance.elements(), of: subject)
  }

  private func moments() -> (mean: Tensor, covariance: Tensor) {
    let mean = sum / Double(count)
    let outer = mean.reshape(-1, 1) * mean.reshape(1, -1)
    return (mean, (products - outer * Double(count)) / Double(count - 1))
  }
}
