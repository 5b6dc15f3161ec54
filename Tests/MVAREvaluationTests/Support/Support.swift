import Foundation
import MVAREvaluation
import Pictures
import Testing
import Torch
import TorchTestSupport

extension TemporaryFolder {
  /// Pictures by formula as PNG files, one a number.
  @discardableResult
  func pictures(_ name: String, _ indices: Range<Int>) throws -> String {
    try FileManager.default.createDirectory(
      atPath: file(name), withIntermediateDirectories: true)
    for (index, picture) in zip(indices, Expected.pictures(indices)) {
      try picture.write(to: file("\(name)/\(1000 + index).png"))
    }
    return file(name)
  }
}

/// A network of one layer, exact and quick: means over squares of 16 by 16 pixels.
struct MeansNetwork: FeatureNetwork {
  var featureCount: Int { 48 }
  var spatialCount: Int? { 12 }
  var classCount: Int? { 5 }
  /// Makes the features of pictures that begin with this byte infinite.
  var poison: Double?

  func callAsFunction(_ bytes: Tensor) -> NetworkFeatures {
    let x = bytes.to(.float32)
    let B = x.length(0)
    var pooled = (x.resizedArea(4, 4) / 64).reshape(B, 48)
    if let poison {
      let first = x.reshape(B, -1).slice(1, 0..<1)
      pooled = pooled.filled(where: first .== .full([B, 1], poison), with: .infinity)
    }
    let spatial = (x.resizedArea(2, 2) / 64).reshape(B, 12)
    return NetworkFeatures(pooled: pooled, spatial: spatial, logits: pooled.slice(1, 0..<5))
  }

  static func choice(poison: Double? = nil, name: String = "means") -> NetworkChoice {
    .custom(
      NetworkIdentity(
        metric: "FD-means", network: name, digest: "none", preprocessing: "none")
    ) { _ in MeansNetwork(poison: poison) }
  }

  static func evaluator(poison: Double? = nil, batch: Int = 5) async throws -> Evaluator {
    try await Evaluator(
      choice(poison: poison), options: .init(precision: .float32, place: .cpu, threads: 1),
      batch: batch)
  }
}

/// The error of a body, whose message must hold all the given parts on one line.
func expectFailure(
  _ kind: EvaluationError.Kind, _ parts: String..., at location: SourceLocation = #_sourceLocation,
  _ body: () async throws -> Void
) async {
  let error = await #expect(throws: EvaluationError.self, sourceLocation: location) {
    try await body()
  }
  guard let error else { return }
  #expect(error.kind == kind, "\(error)", sourceLocation: location)
  for part in parts {
    #expect(error.description.contains(part), "\(error)", sourceLocation: location)
  }
  #expect(!error.description.contains("\n"), sourceLocation: location)
}

/// Numbers near 0 from a seed, `[count]`.
func numbers(_ count: Int, seed: UInt64) throws -> [Double] {
  try LibTorch.load()
  return try Tensor.randn([count], seed: seed).elements(as: Double.self)
}

/// Statistics of rows, straight from their definition.
func statistics(_ rows: [[Double]]) throws -> GaussianStatistics {
  let (N, D) = (rows.count, rows[0].count)
  let mean = (0..<D).map { axis in rows.map { $0[axis] }.reduce(0, +) / Double(N) }
  var covariance = [Double](repeating: 0, count: D * D)
  for row in rows {
    for a in 0..<D {
      for b in 0..<D {
        covariance[a * D + b] += (row[a] - mean[a]) * (row[b] - mean[b]) / Double(N - 1)
      }
    }
  }
  return try GaussianStatistics(count: N, mean: mean, covariance: covariance)
}
