import Foundation
@testable import MVAREvaluation
import Testing
import Torch
import TorchTestSupport

@Suite struct InceptionScoreTests {
  init() throws { try LibTorch.load() }

  private func score(_ logits: Tensor, _ parts: ScoreParts, batch: Int) throws -> InceptionScore {
    let accumulator = ScoreAccumulator(parts, classes: logits.length(1), device: .cpu)
    for start in stride(from: 0, to: logits.length(0), by: batch) {
      accumulator.add(logits.slice(0, start..<min(start + batch, logits.length(0))))
    }
    return try accumulator.score()
  }

  /// Straight from the definition.
  private func direct(_ rows: [[Double]]) -> Double {
    let p = rows.map { row in
      let sum = row.map { exp($0) }.reduce(0, +)
      return row.map { exp($0) / sum }
    }
    let q = (0..<rows[0].count).map { k in p.map { $0[k] }.reduce(0, +) / Double(p.count) }
    let divergences = p.map { zip($0, q).map { $0 * log($0 / $1) }.reduce(0, +) }
    return exp(divergences.reduce(0, +) / Double(p.count))
  }

  @Test(arguments: [1, 4, 23])
  func definition(batch: Int) throws {
    let logits = Tensor.randn([23, 6], seed: 4) * 3
    let rows = try (0..<23).map { try logits[$0].elements(as: Double.self) }
    let whole = try score(logits, .equal(1, of: 23), batch: batch)
    #expect(abs(whole.mean - direct(rows)) < 1e-9)
    #expect(whole.deviation == 0 && whole.parts == 1)
    // 0 … 6, 7 … 14, 15 … 22, as NumPy's code has it.
    let parts = [rows[0..<7], rows[7..<15], rows[15..<23]].map { direct(Array($0)) }
    let three = try score(logits, .equal(3, of: 23), batch: batch)
    let mean = parts.reduce(0, +) / 3
    #expect(abs(three.mean - mean) < 1e-9)
    let variance = parts.map { pow($0 - mean, 2) }.reduce(0, +) / 3
    #expect(abs(three.deviation - variance.squareRoot()) < 1e-9)
    let sized = [rows[0..<10], rows[10..<20], rows[20..<23]].map { direct(Array($0)) }
    #expect(
      abs(try score(logits, .sized(10, of: 23), batch: batch).mean - sized.reduce(0, +) / 3) < 1e-9)
  }

  @Test func certainClasses() throws {
    // Each picture surely of its own class: the score is the number of classes.
    let logits = Tensor.of((0..<64).map { Float($0 % 9 == 0 ? 1e4 : 0) }, shape: [8, 8])
    #expect(abs(try score(logits, .equal(1, of: 8), batch: 3).mean - 8) < 1e-9)
    #expect(abs(try score(.zeros([8, 8]), .equal(2, of: 8), batch: 3).mean - 1) < 1e-12)
  }

  @Test func shuffling() {
    let parts = ScoreParts.equal(10, of: 103)
    let shuffled = parts.shuffled(seed: 5)
    #expect(shuffled.part != parts.part)
    #expect(shuffled.part.sorted() == parts.part)
    #expect(shuffled.part == parts.shuffled(seed: 5).part)
    #expect(ScoreParts.equal(10, of: 4).count == 4)
    #expect(ScoreParts.sized(5000, of: 50_000).count == 10)
  }

  @Test func agreesWithTorchFidelity() throws {
    let (logits, expected) = (try Expected.tensor("generated.logits"), try Expected.figures())
    let one = try score(logits, .equal(1, of: 12), batch: 5)
    #expect(abs(one.mean - expected.inception_score_1.mean) < 1e-4)
    let three = try score(logits, .equal(3, of: 12), batch: 5)
    #expect(abs(three.mean - expected.inception_score_3.mean) < 1e-4)
    #expect(abs(three.deviation - expected.inception_score_3.std) < 1e-4)
  }
}

@Suite struct PrecisionRecallTests {
  init() throws { try LibTorch.load() }

  /// Every feature against every other, one by one.
  private func direct(_ real: [[Double]], _ made: [[Double]], _ k: Int) -> PrecisionRecall {
    func distance(_ a: [Double], _ b: [Double]) -> Double {
      zip(a, b).map { pow($0 - $1, 2) }.reduce(0, +)
    }
    func share(_ features: [[Double]], in others: [[Double]]) -> Double {
      let radii = others.map { a in others.map { distance(a, $0) }.sorted()[k] }
      let inside = features.filter { feature in
        zip(others, radii).contains { distance(feature, $0) <= $1 }
      }
      return Double(inside.count) / Double(features.count)
    }
    return PrecisionRecall(precision: share(made, in: real), recall: share(real, in: made))
  }

  @Test(arguments: [(1, 7), (3, 5), (3, 1000), (5, 13)])
  func definition(neighbours: Int, block: Int) throws {
    let real = Tensor.randn([41, 6], seed: 1)
    let made = Tensor.randn([29, 6], seed: 2) * 1.3 + 0.4
    func rows(_ x: Tensor) throws -> [[Double]] {
      try (0..<x.length(0)).map { try x[$0].elements(as: Double.self) }
    }
    let found = try PrecisionRecall(
      real: real, generated: made, neighbours: neighbours, block: block)
    let expected = try direct(rows(real), rows(made), neighbours)
    #expect(found == expected)
    #expect(found.precision > 0 && found.precision < 1 && found.recall > 0 && found.recall < 1)
  }

  @Test func agreesWithTorchFidelity() throws {
    let (real, made) = (
      try Expected.tensor("real.pooled"), try Expected.tensor("generated.pooled")
    )
    let expected = try Expected.figures()
    let three = try PrecisionRecall(real: real, generated: made)
    #expect(three.precision == expected.precision_3)
    #expect(three.recall == expected.recall_3)
    let one = try PrecisionRecall(real: real, generated: made, neighbours: 1)
    #expect(one.precision == expected.precision_1)
    #expect(one.recall == expected.recall_1)
  }

  @Test func tooFew() async {
    await expectFailure(.pictures, "3 real pictures", "at least 4") {
      _ = try PrecisionRecall(real: .zeros([3, 2]), generated: .zeros([9, 2]))
    }
  }
}

@Suite struct KernelDistanceTests {
  init() throws { try LibTorch.load() }

  @Test func agreesWithTorchFidelity() throws {
    let real = try Expected.tensor("real.pooled").slice(0, 0..<12)
    let made = try Expected.tensor("generated.pooled")
    let found = try KernelDistance(real: real, generated: made, subsets: 1)
    let expected = try Expected.figures().kid
    #expect(abs(found.mean - expected) < 1e-6 * abs(expected))
    #expect(found.subsetSize == 12 && found.deviation == 0)
  }

  @Test func subsetsAreFair() throws {
    let x = Tensor.randn([200, 8], seed: 1)
    let y = Tensor.randn([150, 8], seed: 2)
    let same = try KernelDistance(real: x, generated: y, subsets: 60, subsetSize: 50)
    #expect(abs(same.mean) < 3 * same.deviation)
    let other = try KernelDistance(real: x, generated: y + 1, subsets: 60, subsetSize: 50)
    #expect(other.mean > 5 * same.deviation)
    #expect(try KernelDistance(real: x, generated: y, subsets: 60, subsetSize: 50) == same)
  }
}
