import MVAR

/// How far pictures of a lower precision are from those of float32.
struct BenchAgreement: Encodable {
  let dtype: String
  let device: String
  /// The share of equal tokens, all scales together and one by one. One token that differs changes those after it.
  let equalTokens: Double
  let equalTokensByScale: [Double]
  /// The mean absolute difference of pixels in [0, 1].
  let meanDifference: Double

  private enum CodingKeys: String, CodingKey {
    case dtype, device
    case equalTokens = "equal_tokens"
    case equalTokensByScale = "equal_tokens_by_scale"
    case meanDifference = "mean_absolute_difference"
  }

  init(
    found: SamplingBenchmark.Drawing, expected: SamplingBenchmark.Drawing, dtype: String,
    device: String
  ) {
    (self.dtype, self.device) = (dtype, device)
    let equal = zip(found.tokens, expected.tokens).map { zip($0, $1).count { $0 == $1 } }
    let counts = expected.tokens.map(\.count)
    equalTokens = Double(equal.reduce(0, +)) / Double(counts.reduce(0, +))
    equalTokensByScale = zip(equal, counts).map { Double($0) / Double($1) }
    let differences = zip(found.pixels, expected.pixels).map { Double(abs($0 - $1)) }
    meanDifference = differences.reduce(0, +) / Double(differences.count)
  }

  /// For people.
  var text: String {
    func percent(_ share: Double) -> String { Quantity.rounded(100 * share, 1) }
    let scales = equalTokensByScale.map(percent).joined(separator: " ")
    return """
      \(dtype) on \(device) against float32, the likeliest token everywhere
      equal tokens     \(percent(equalTokens)) %, by scale: \(scales)
      mean difference  \(Quantity.rounded(meanDifference, 5)) of a pixel's range
      """
  }
}
