import Torch

/// The Inception score (Salimans et al., arXiv 1606.03498): exp of the mean divergence between the
/// classes of one picture and those of all, over parts of the pictures.
public struct InceptionScore: Sendable, Equatable, Codable {
  /// The mean over the parts.
  public let mean: Double
  /// The standard deviation over the parts, of the population as `numpy.std` has it.
  public let deviation: Double
  public let parts: Int
}

/// How pictures are divided into parts.
struct ScoreParts {
  /// The part of each picture.
  let part: [Int]
  let count: Int

  /// Parts of equal size (to one picture), in order: picture i is in part p where pN/P ≤ i < (p+1)N/P.
  static func equal(_ count: Int, of total: Int) -> ScoreParts {
    let parts = max(min(count, total), 1)
    var part = [Int](repeating: 0, count: total)
    for p in 0..<parts {
      for index in p * total / parts..<(p + 1) * total / parts { part[index] = p }
    }
    return ScoreParts(part: part, count: parts)
  }

  /// Parts of so many pictures, in order; the last may be smaller. OpenAI's evaluator, from whose
  /// figure papers quote, has 5,000.
  static func sized(_ size: Int, of total: Int) -> ScoreParts {
    ScoreParts(part: (0..<total).map { $0 / size }, count: max((total + size - 1) / size, 1))
  }

  /// The same parts of pictures in another order: pictures of one class that follow each other would
  /// make the score meaningless.
  func shuffled(seed: UInt64) -> ScoreParts {
    ScoreParts(part: part.shuffled(seed: seed), count: count)
  }
}

/// Sums from which the score follows, batch by batch: mean(Σ p log p) − Σ q log q for q the mean of p.
final class ScoreAccumulator {
  private let parts: ScoreParts
  private var probabilities: Tensor  // [parts, K]
  private var negentropies: Tensor  // [parts]
  private var counts: [Int]
  private var seen = 0

  init(_ parts: ScoreParts, classes: Int, device: Device) {
    self.parts = parts
    probabilities = .zeros([parts.count, classes], dtype: .float64, device: device)
    negentropies = .zeros([parts.count], dtype: .float64, device: device)
    counts = Array(repeating: 0, count: parts.count)
  }

  /// - Parameter logits: `[B, K]`, of the next pictures.
  func add(_ logits: Tensor) {
    let B = logits.length(0)
    var members = [Double](repeating: 0, count: parts.count * B)
    for row in 0..<B {
      let part = parts.part[seen + row]
      members[part * B + row] = 1
      counts[part] += 1
    }
    seen += B
    let logP = logits.to(.float64).logSoftmax()
    let p = logP.exp()
    let mask = Tensor.of(members, shape: [parts.count, B]).uploaded(to: logits.device)
    probabilities = probabilities.adding(product: mask, p)
    // 0 · log 0 is 0; logarithms of a softmax are finite but for overflow.
    negentropies += mask.matmul((p * logP).sum(1).reshape(-1, 1)).reshape(-1)
  }

  func score() throws -> InceptionScore {
    let sizes = Tensor.of(counts.map { Double(max($0, 1)) }, device: negentropies.device)
    let q = probabilities / sizes.reshape(-1, 1)
    // A class that no picture has adds nothing.
    let entropy = (q * q.clamped(1e-300, 2).log()).sum(1)
    let scores = try (negentropies / sizes - entropy).exp().elements(as: Double.self)
    let used = zip(scores, counts).filter { $0.1 > 0 }.map(\.0)
    let mean = used.reduce(0, +) / Double(used.count)
    let variance = used.map { ($0 - mean) * ($0 - mean) }.reduce(0, +) / Double(used.count)
    return InceptionScore(mean: mean, deviation: variance.squareRoot(), parts: used.count)
  }
}

extension Array {
  /// In an order that the seed tells, the same on every machine.
  func shuffled(seed: UInt64) -> [Element] {
    var result = self
    let stream = PhiloxStream(seed: seed)
    for index in stride(from: result.count - 1, to: 0, by: -1) {
      let words = stream.block(UInt64(index), domain: 0x5348_5546)
      let word = UInt64(words[0]) | UInt64(words[1]) << 32
      result.swapAt(index, Int(word.multipliedFullWidth(by: UInt64(index + 1)).high))
    }
    return result
  }
}
