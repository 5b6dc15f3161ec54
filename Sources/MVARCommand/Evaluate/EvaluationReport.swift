import MVAREvaluation

/// The record of an evaluation: what was measured, how, and what came of it.
struct EvaluationReport: Encodable {
  let software = "mvar \(version)"
  var settings: GenerationSettings?
  var images: String?
  let reference: String
  let result: EvaluationResult
  let seconds: Double

  private enum CodingKeys: String, CodingKey {
    case software, settings, images, reference, result, seconds
  }
}

extension EvaluationResult {
  /// What a person reads below the table.
  var remarks: [String] {
    var lines: [String] = []
    if let interval {
      lines.append(
        "\(network.metric) 95 %: \(Quantity.rounded(interval.low, 3)) to "
          + "\(Quantity.rounded(interval.high, 3)) (\(interval.resamples) resamples)")
    }
    if let scores {
      let ten = scores.tenParts
      lines.append(
        "IS: parts of 5,000 as papers quote it; \(Quantity.rounded(ten.mean, 2)) ± "
          + "\(Quantity.rounded(ten.deviation, 2)) over \(ten.parts) equal parts")
    }
    let real = referenceCount.map { "\($0) real ones" } ?? "the reference's statistics"
    lines.append("\(count) pictures against \(real), \(network.network)")
    return lines
  }
}

extension Console {
  /// A table of results, remarks and warnings.
  func report(_ title: String, _ results: [(label: String, result: EvaluationResult)]) throws {
    try result(ResultTable(title, results).text)
    if results.count == 1 { for remark in results[0].result.remarks { try result(remark) } }
    var told: Set<String> = []
    for warning in results.flatMap(\.result.warnings) where told.insert(warning).inserted {
      note("warning: \(warning)")
    }
  }
}
