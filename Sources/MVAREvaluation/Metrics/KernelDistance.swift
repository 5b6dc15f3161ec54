import Torch

/// The kernel inception distance (Bińkowski et al., arXiv 1801.01401): the unbiased estimate of the
/// squared maximum mean discrepancy under the kernel (x·y / D + 1)³, over random subsets.
public struct KernelDistance: Sendable, Equatable, Codable {
  /// The mean over the subsets.
  public let mean: Double
  /// The standard deviation over the subsets, of the population.
  public let deviation: Double
  public let subsets: Int
  /// The features of each set in a subset.
  public let subsetSize: Int

  private enum CodingKeys: String, CodingKey {
    case mean, deviation, subsets
    case subsetSize = "subset_size"
  }

  /// - Parameters:
  ///   - real: `[N, D]`
  ///   - generated: `[M, D]`
  ///   - subsetSize: At most so many; fewer where a set has fewer.
  /// - Throws: ``EvaluationError`` for less than two features.
  public init(
    real: Tensor, generated: Tensor, subsets: Int = 100, subsetSize: Int = 1000, seed: UInt64 = 0
  ) throws {
    let size = min(subsetSize, real.length(0), generated.length(0))
    guard size > 1 else {
      throw EvaluationError(
        .pictures, "KID", "a set of \(size) pictures has no pairs", mend: "give at least two")
    }
    let values = try (0..<subsets).map { index in
      try withTorchErrors {
        try Self.discrepancy(
          Self.choose(size, of: real, seed, 2 * index),
          Self.choose(size, of: generated, seed, 2 * index + 1))
      }
    }
    mean = values.reduce(0, +) / Double(subsets)
    let mean = mean
    let variance = values.map { ($0 - mean) * ($0 - mean) }.reduce(0, +) / Double(subsets)
    deviation = variance.squareRoot()
    (self.subsets, self.subsetSize) = (subsets, size)
  }

  /// Different features by chance; all where there are no more.
  private static func choose(_ count: Int, of features: Tensor, _ seed: UInt64, _ index: Int)
    -> Tensor
  {
    let total = features.length(0)
    if count == total { return features.to(.float64) }
    let stream = PhiloxStream(seed: seed)
    // The first steps of a shuffle, of which only the places that were touched are kept.
    var moved: [Int: Int] = [:]
    let chosen = (0..<count).map { place in
      let words = stream.block(UInt64(place), domain: UInt64(index))
      let word = UInt64(words[0]) | UInt64(words[1]) << 32
      let other = place + Int(word.multipliedFullWidth(by: UInt64(total - place)).high)
      let value = moved[other] ?? other
      moved[other] = moved[place] ?? place
      return value
    }
    return features.indexed(0, .of(chosen, device: features.device)).to(.float64)
  }

  private static func discrepancy(_ x: Tensor, _ y: Tensor) throws -> Double {
    let (n, D) = x.shape2
    func kernel(_ a: Tensor, _ b: Tensor) -> Tensor {
      let k = a.matmul(b.transposed) / Double(D) + 1
      return k * k * k
    }
    func offDiagonal(_ k: Tensor) -> Tensor { k.sum(0, 1) - k.diagonal().sum(0) }
    let pairs = Double(n * (n - 1))
    let within = (offDiagonal(kernel(x, x)) + offDiagonal(kernel(y, y))) / pairs
    return try (within - kernel(x, y).sum(0, 1) * (2 / Double(n * n))).item()
  }
}
