import Foundation

/// Results side by side, as papers print them.
public struct ResultTable {
  private let rows: [[String]]

  /// - Parameter title: What the first column tells apart.
  public init(_ title: String, _ results: [(label: String, result: EvaluationResult)]) {
    let metric = results.first?.result.network.metric ?? "FID"
    var columns: [(name: String, value: (EvaluationResult) -> String?)] = [
      ("\(metric) ↓", { Self.number($0.frechetDistance, 2) }),
      ("sFID ↓", { $0.spatialFrechetDistance.map { Self.number($0, 2) } }),
      ("IS ↑", { $0.scores.map { Self.number($0.paper.mean, 1) } }),
      ("Precision ↑", { $0.precisionRecall.map { Self.number($0.precision, 3) } }),
      ("Recall ↑", { $0.precisionRecall.map { Self.number($0.recall, 3) } }),
      ("KID × 10³ ↓", { $0.kernelDistance.map { Self.number($0.mean * 1000, 3) } }),
    ]
    columns.removeAll { column in results.allSatisfy { column.value($0.result) == nil } }
    let head = [title] + columns.map(\.name)
    rows =
      [head]
      + results.map { label, result in
        [label] + columns.map { $0.value(result) ?? "–" }
      }
  }

  /// For a terminal and for Markdown alike.
  public var text: String {
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max()! }
    func line(_ cells: [String]) -> String {
      let padded = zip(cells, widths).enumerated().map { index, cell in
        let spaces = String(repeating: " ", count: cell.1 - cell.0.count)
        return index == 0 ? cell.0 + spaces : spaces + cell.0
      }
      return "| " + padded.joined(separator: " | ") + " |"
    }
    let rule = widths.enumerated().map { index, width in
      String(repeating: "-", count: width + 1) + (index == 0 ? "-" : ":")
    }
    return ([line(rows[0]), "|" + rule.joined(separator: "|") + "|"] + rows.dropFirst().map(line))
      .joined(separator: "\n")
  }

  static func number(_ value: Double, _ digits: Int) -> String {
    String(format: "%.\(digits)f", value)
  }
}
