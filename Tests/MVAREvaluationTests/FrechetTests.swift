import Foundation
@testable import MVAREvaluation
import Testing
import Torch
import TorchTestSupport

@Suite struct FrechetTests {
  init() throws { try LibTorch.load() }

  /// Diagonal covariances: Σ (√a − √b)².
  @Test func diagonal() throws {
    let (a, b) = ([4.0, 1, 0, 9], [1.0, 1, 2, 0])
    func gaussian(_ variances: [Double], _ mean: [Double]) throws -> GaussianStatistics {
      let covariance = (0..<16).map { $0 % 5 == 0 ? variances[$0 / 5] : 0 }
      return try GaussianStatistics(count: 100, mean: mean, covariance: covariance)
    }
    let distance = try FrechetDistance(to: gaussian(a, [0, 0, 0, 0]))
    let expected = 9 + zip(a, b).map { pow($0.squareRoot() - $1.squareRoot(), 2) }.reduce(0, +)
    #expect(abs(try distance(gaussian(b, [3, 0, 0, 0])) - expected) < 1e-12)
  }

  /// Two by two: tr √(Σ₁Σ₂) = √(tr Σ₁Σ₂ + 2 √det Σ₁Σ₂).
  @Test func notCommuting() throws {
    let (a, b) = ([3.0, 1, 1, 2], [1.0, -0.4, -0.4, 5])
    let product = [
      a[0] * b[0] + a[1] * b[2], a[0] * b[1] + a[1] * b[3], a[2] * b[0] + a[3] * b[2],
      a[2] * b[1] + a[3] * b[3],
    ]
    let determinant = product[0] * product[3] - product[1] * product[2]
    let root = (product[0] + product[3] + 2 * determinant.squareRoot()).squareRoot()
    let expected = a[0] + a[3] + b[0] + b[3] - 2 * root
    let first = try GaussianStatistics(count: 9, mean: [0, 0], covariance: a)
    let second = try GaussianStatistics(count: 9, mean: [0, 0], covariance: b)
    #expect(abs(try FrechetDistance(to: first)(second) - expected) < 1e-12)
    #expect(abs(try FrechetDistance(to: second)(first) - expected) < 1e-12)
    #expect(try FrechetDistance(to: first)(first) < 1e-12)
  }

  /// 500 features of 2,048 numbers: three quarters of the eigenvalues are nought. Of X, X + c and 2X the
  /// distances are known: |c|², and |μ|² + tr Σ.
  @Test func singularCovariances() throws {
    let (N, D) = (500, 2048)
    let x = (Tensor.randn([N, D], seed: 3) * 0.5 + 0.4).to(.float64)
    // Axes that depend on each other, of very different sizes.
    let spread = (Tensor.arange(D, dtype: .float64) / Double(-D) * 8).exp()
    let mixed = x * spread + x.slice(1, 0..<1) * 0.1
    func moments(_ x: Tensor) throws -> GaussianStatistics {
      let moments = MomentAccumulator(dimension: D, device: .cpu)
      for start in stride(from: 0, to: N, by: 128) {
        moments.add(x.slice(0, start..<min(start + 128, N)))
      }
      return try moments.statistics("test")
    }
    let first = try moments(mixed)
    let distance = try FrechetDistance(to: first)
    let shift = 0.3
    let shifted = try distance(moments(mixed + shift))
    #expect(abs(shifted - shift * shift * Double(D)) < 1e-6 * shift * shift * Double(D))
    let trace = stride(from: 0, to: D * D, by: D + 1).map { first.covariance[$0] }.reduce(0, +)
    let expected = first.mean.map { $0 * $0 }.reduce(0, +) + trace
    #expect(abs(try distance(moments(mixed * 2)) - expected) < 1e-6 * expected)
    #expect(first.rankWarning("the pictures")?.contains("500") == true)
    #expect(first.rankWarning("the pictures")?.contains("rank 499") == true)
    #expect(try GaussianStatistics(count: 3, mean: [0], covariance: [1]).rankWarning("x") == nil)
  }

  @Test(arguments: [1, 3, 7])
  func batchesAreIrrelevant(batch: Int) throws {
    let rows = try (0..<11).map { try numbers(4, seed: UInt64($0 + 1)) }
    let moments = MomentAccumulator(dimension: 4, device: .cpu)
    for start in stride(from: 0, to: 11, by: batch) {
      let part = rows[start..<min(start + batch, 11)]
      moments.add(.of(part.flatMap { $0 }, shape: [part.count, 4]))
    }
    let (found, expected) = (try moments.statistics("test"), try statistics(rows))
    for (a, b) in zip(found.mean + found.covariance, expected.mean + expected.covariance) {
      #expect(abs(a - b) < 1e-12)
    }
  }

  @Test func whatCannotBe() async throws {
    await expectFailure(.pictures, "one picture", "two") {
      let moments = MomentAccumulator(dimension: 2, device: .cpu)
      moments.add(.zeros([1, 2]))
      _ = try moments.statistics("a set")
    }
    await expectFailure(.notFinite, "statistics", "not finite") {
      _ = try GaussianStatistics(count: 2, mean: [.nan], covariance: [1])
    }
    await expectFailure(.malformed, "mean of 2", "covariance of 3") {
      _ = try GaussianStatistics(count: 2, mean: [0, 0], covariance: [1, 2, 3])
    }
    let one = try GaussianStatistics(count: 9, mean: [0], covariance: [1])
    await expectFailure(.wrongKind, "features of 2", "1 are expected") {
      _ = try FrechetDistance(to: one)(
        GaussianStatistics(count: 9, mean: [0, 0], covariance: [1, 0, 0, 1]))
    }
  }

  @Test func interval() throws {
    let real = Tensor.randn([300, 4], seed: 1)
    let reference = MomentAccumulator(dimension: 4, device: .cpu)
    reference.add(real)
    let distance = try FrechetDistance(to: reference.statistics("real"))
    func interval(_ count: Int) throws -> (value: Double, interval: ConfidenceInterval) {
      let made = Tensor.randn([count, 4], seed: 2) + 0.4
      let moments = MomentAccumulator(dimension: 4, device: .cpu)
      moments.add(made)
      let value = try distance(moments.statistics("made"))
      return (value, try distance.interval(of: made, distance: value, resamples: 40))
    }
    let (few, many) = (try interval(60), try interval(2000))
    for (value, interval) in [few, many] {
      #expect(interval.low < value && value < interval.high)
      #expect(interval.resamples == 40)
    }
    #expect(many.interval.high - many.interval.low < few.interval.high - few.interval.low)
    #expect(try interval(60).interval == few.interval)
  }
}
