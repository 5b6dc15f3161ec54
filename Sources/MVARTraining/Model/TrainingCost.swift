import MVAR
import Torch

/// How much arithmetic a picture takes in training, for the share of a GPU's peak that is used.
///
/// Six operations for each parameter that acts on a token (two forward, four backward, as in
/// arXiv 2204.02311, appendix B), and the same for the products of attention and of the scan. What is
/// computed twice to save memory is not counted twice.
struct TrainingCost {
  /// Floating-point operations a picture, forward and backward.
  let operationsPerPicture: Double

  init(_ configuration: TransformerConfiguration) {
    let C = Double(configuration.width)
    let L = Double(configuration.schedule.tokenCount)
    let depth = Double(configuration.depth)
    let isMamba = configuration.kind == .mvar
    let feedForward = 2 * C * Double(configuration.hidden)
    let attention = 4 * C * C
    let mamba = isMamba ? C * (4 * C + 2 * 64 + 2 * C / 64) + 2 * C * C : 0
    let perToken =
      depth * (attention + mamba + feedForward) + C * Double(configuration.vocabulary)
      + C * Double(configuration.codeChannels)
    let modulation = 3 * Double(configuration.sublayers) * C * C
    let perPicture = modulation * (configuration.sharedAdaLN ? 1 : depth) + 2 * C * C
    let pairs = configuration.schedule.ranges.reduce(0.0) { sum, range in
      sum + Double(range.count) * Double(isMamba ? range.count : range.upperBound)
    }
    // Queries with keys, and weights with values: C multiplications each for a pair of tokens.
    let scores = depth * 2 * C * pairs
    // A state of 64 for each of 2 C channels, written and read.
    let scan = isMamba ? depth * L * 2 * 2 * C * 64 : 0
    operationsPerPicture = 6 * (perToken * L + perPicture + scores + scan)
  }

  /// Operations a second of this GPU's dense products in bfloat16, as its maker states; nil where it
  /// is not known.
  static func peak(gpu name: String) -> Double? {
    let known: [(String, Double)] = [
      ("H100 PCIe", 756e12), ("H100", 989e12), ("H200", 989e12), ("A100", 312e12), ("L40S", 362e12),
      ("RTX 4090", 165e12),
    ]
    return known.first { name.contains($0.0) }?.1
  }
}
