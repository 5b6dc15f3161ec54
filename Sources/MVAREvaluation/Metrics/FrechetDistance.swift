import Torch

/// The Fréchet distance between two Gaussians (Heusel et al., arXiv 1706.08500):
/// |μ₁ − μ₂|² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁Σ₂)^½.
///
/// The trace of the root is the sum of the roots of the eigenvalues of RᵀΣ₂R, where RRᵀ = Σ₁ and R has
/// a column for each eigenvalue of Σ₁ that is more than rounding. Both matrices are symmetric, so that
/// nothing complex or unstable appears where a covariance is singular, as it is for fewer features than
/// axes.
public final class FrechetDistance {
  private let mean: Tensor  // [D]
  private let root: Tensor  // [D, r]
  private let trace: Double
  private let dimension: Int

  /// Decomposes the statistics that others will be compared with.
  ///
  /// - Throws: `TorchError` where the decomposition fails.
  public init(to reference: GaussianStatistics, device: Device = .cpu) throws {
    let D = reference.dimension
    dimension = D
    (mean, root, trace) = try withTorchErrors {
      let mean = Tensor.of(reference.mean, device: device)
      let covariance = Tensor.of(reference.covariance, shape: [D, D], device: device)
      let (values, vectors) = covariance.symmetricEigen()
      let sorted = try values.elements(as: Double.self)
      let rounding = Double(D) * 0x1p-52 * max(sorted.last ?? 0, 0)
      let first = sorted.firstIndex { $0 > rounding } ?? D
      let root = vectors.slice(1, first..<D) * values.slice(0, first..<D).squareRoot()
      return (mean, root.contiguous(), try covariance.diagonal().sum(0).item())
    }
  }

  /// - Throws: ``EvaluationError`` for features of another length, `TorchError` where the decomposition
  ///   fails.
  public func callAsFunction(_ other: GaussianStatistics) throws -> Double {
    guard other.dimension == dimension else {
      throw EvaluationError(
        .wrongKind, "statistics",
        "they are of features of \(other.dimension) numbers where \(dimension) are expected",
        mend: "compare features of one network")
    }
    let D = dimension
    return try withTorchErrors {
      try distance(
        mean: .of(other.mean, device: mean.device),
        covariance: .of(other.covariance, shape: [D, D], device: mean.device))
    }
  }

  func distance(mean other: Tensor, covariance: Tensor) throws -> Double {
    let difference = mean - other
    let product = root.transposed.matmul(covariance).matmul(root)  // [r, r]
    // Rounding leaves it not quite symmetric.
    let eigenvalues = ((product + product.transposed) / 2).symmetricEigenvalues()
    let roots = eigenvalues.clamped(0, .infinity).squareRoot().sum(0)
    let traces = try covariance.diagonal().sum(0).item() + trace
    let squared = try (difference * difference).sum(0).item()
    return max(squared + traces - 2 * (try roots.item()), 0)
  }
}
