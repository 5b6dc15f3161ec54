import Torch

/// Improved precision and recall (Kynkäänniemi et al., arXiv 1904.06991): the share of generated
/// pictures inside the real ones' manifold, and the other way round. A manifold is the balls around its
/// features that reach to their k-th neighbour.
public struct PrecisionRecall: Sendable, Equatable, Codable {
  public let precision: Double
  public let recall: Double

  public init(precision: Double, recall: Double) {
    (self.precision, self.recall) = (precision, recall)
  }

  /// - Parameters:
  ///   - real: `[N, D]` float32
  ///   - generated: `[M, D]` float32
  ///   - neighbours: k; 3 in the papers.
  ///   - block: Features compared at once, as OpenAI's evaluator's 10,000; it bounds the memory at
  ///     block² numbers and changes nothing.
  /// - Throws: ``EvaluationError`` for less than k + 1 features.
  public init(
    real: Tensor, generated: Tensor, neighbours: Int = 3, block: Int = 10_000
  ) throws {
    for (features, name) in [(real, "real"), (generated, "generated")] {
      guard features.length(0) > neighbours else {
        throw EvaluationError(
          .pictures, "precision and recall",
          "\(features.length(0)) \(name) pictures have no \(neighbours) neighbours each",
          mend: "give at least \(neighbours + 1)")
      }
    }
    (precision, recall) = try withTorchErrors {
      let (a, b) = (Manifold(real, neighbours, block), Manifold(generated, neighbours, block))
      return (try a.share(of: b, block), try b.share(of: a, block))
    }
  }
}

/// Features and the squared radii of their balls.
private struct Manifold {
  let features: Tensor  // [N, D]
  private let lengths: Tensor  // [N]
  private var radii: Tensor  // [N]

  init(_ features: Tensor, _ neighbours: Int, _ block: Int) {
    self.features = features
    lengths = (features * features).sum(1)
    radii = lengths
    // The nearest is the feature itself.
    let rows = blocks(block).map { row in
      var nearest: Tensor?
      for column in blocks(block) {
        let near = distances(row, self, column)
        let few = near.smallest(min(neighbours + 1, column.count)).values
        let all = nearest.map { Tensor.concatenate([$0, few], axis: 1) } ?? few
        nearest = all.smallest(min(neighbours + 1, all.length(1))).values
      }
      return nearest!.select(1, neighbours)
    }
    radii = .concatenate(rows, axis: 0)
  }

  /// The share of the other's features that lie in any ball of this one.
  func share(of other: Manifold, _ block: Int) throws -> Double {
    let inside = other.blocks(block).map { row in
      var inside: Tensor?
      for column in blocks(block) {
        let near = other.distances(row, self, column) .<= radii.slice(0, column)
        let any = near.max(1).to(.float64)
        inside = inside.map { .stack([$0, any], axis: 0).max(0) } ?? any
      }
      return inside!
    }
    return try Tensor.concatenate(inside, axis: 0).mean(0).item()
  }

  private func blocks(_ size: Int) -> [Range<Int>] {
    let count = features.length(0)
    return stride(from: 0, to: count, by: size).map { $0..<min($0 + size, count) }
  }

  /// Squared distances of some features to some of another set, `[rows, columns]`.
  private func distances(_ rows: Range<Int>, _ other: Manifold, _ columns: Range<Int>) -> Tensor {
    let lengths = lengths.slice(0, rows).reshape(-1, 1) + other.lengths.slice(0, columns)
    let (a, b) = (features.slice(0, rows), other.features.slice(0, columns))
    return lengths.adding(product: a, b.transposed, alpha: -2).clamped(0, .infinity)
  }
}
