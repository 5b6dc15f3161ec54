import Foundation
import MVAR

/// How many codes of a tokenizer's codebook pictures use, scale by scale.
public struct CodebookUse: Sendable {
  /// One scale's, or all scales' together.
  public struct Usage: Sendable, Equatable, Codable {
    /// "4x4", or "all".
    public let scale: String
    public let tokens: Int
    /// Different codes.
    public let codes: Int
    /// Of the whole codebook.
    public let share: Double
    /// exp of the entropy: as many codes, used equally often, would be as varied.
    public let perplexity: Double
  }

  private let vocabulary: Int
  private var sizes: [ScaleSchedule.Size] = []
  private var counts: [[Int]] = []  // [K][V]

  public init(vocabulary: Int) { self.vocabulary = vocabulary }

  public mutating func add(_ tokens: PictureTokens) {
    if counts.isEmpty {
      sizes = tokens.schedule.sizes
      counts = sizes.map { _ in [Int](repeating: 0, count: vocabulary) }
    }
    for (k, scale) in tokens.scales.enumerated() {
      for token in scale { counts[k][Int(token)] += 1 }
    }
  }

  /// One a scale, and all together last.
  public var usages: [Usage] {
    var all = [Int](repeating: 0, count: vocabulary)
    for scale in counts { for (code, count) in scale.enumerated() { all[code] += count } }
    return zip(sizes, counts).map { Self.usage("\($0.height)x\($0.width)", $1) }
      + [Self.usage("all", all)]
  }

  private static func usage(_ scale: String, _ counts: [Int]) -> Usage {
    let total = counts.reduce(0, +)
    let used = counts.filter { $0 > 0 }
    let entropy = used.reduce(0.0) { sum, count in
      let share = Double(count) / Double(total)
      return sum - share * Foundation.log(share)
    }
    return Usage(
      scale: scale, tokens: total, codes: used.count,
      share: Double(used.count) / Double(max(counts.count, 1)), perplexity: Foundation.exp(entropy))
  }
}
