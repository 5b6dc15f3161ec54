import MVAR

/// A summary as a person reads it.
struct SummaryTable {
  let summary: CheckpointSummary

  init(_ summary: CheckpointSummary) { self.summary = summary }

  var text: String {
    let title = "\(summary.file) (\(Quantity.bytes(summary.bytes)), \(summary.tensors) tensors)"
    let parts = summary.parts.map { rows($0).map(Self.line).joined(separator: "\n") }
    let unknown = "  kind          no model or tokenizer that this program knows"
    return ([title] + (parts.isEmpty ? [unknown] : [parts.joined(separator: "\n\n")]))
      .joined(separator: "\n")
  }

  private static func line(_ row: (name: String, value: String)) -> String {
    let padding = String(repeating: " ", count: max(14 - row.name.count, 1))
    return "  \(row.name)\(padding)\(row.value)"
  }

  private func rows(_ part: CheckpointSummary.Part) -> [(name: String, value: String)] {
    let rows: [(String, String?)] = [
      ("kind", part.kind), ("found in", part.place.isEmpty ? nil : part.place),
      ("depth", part.depth.map(String.init)), ("width", part.width.map(String.init)),
      ("heads", part.heads.map(String.init)), ("classes", part.classes.map(String.init)),
      ("channels", part.channels.map { Self.channels($0, part.multipliers ?? []) }),
      ("vocabulary", vocabulary(part)), ("phi", part.phi),
      ("scales", part.scales), ("resolution", part.resolution.map { "\($0) px" }),
      ("attention", part.attentionNorm.map { $0 == "l2" ? "unit queries and keys" : "scaled" }),
      ("modulation", part.sharedAdaLN.map { $0 ? "one for all blocks" : "one for each block" }),
      ("parameters", Quantity.millions(part.parameters)),
      ("dtype", part.dtypes.joined(separator: ", ")),
    ]
    return rows.compactMap { name, value in value.map { (name, $0) } }
  }

  private static func channels(_ first: Int, _ multipliers: [Int]) -> String {
    multipliers.map { String($0 * first) }.joined(separator: ", ")
  }

  private func vocabulary(_ part: CheckpointSummary.Part) -> String? {
    part.vocabulary.map { count in
      "\(count) codes" + (part.codeChannels.map { " of \($0) numbers" } ?? "")
    }
  }
}

/// Numbers as people read them.
enum Quantity {
  /// "464.2 M"
  static func millions(_ count: Int) -> String { "\(rounded(Double(count) / 1e6, 1)) M" }

  /// "1.86 GB"; a kilobyte is 1000 bytes.
  static func bytes(_ count: Int) -> String {
    switch count {
    case 1_000_000_000...: "\(rounded(Double(count) / 1e9, 2)) GB"
    case 1_000_000...: "\(rounded(Double(count) / 1e6, 1)) MB"
    case 1_000...: "\(rounded(Double(count) / 1e3, 1)) kB"
    default: "\(count) bytes"
    }
  }

  /// With a fixed number of digits after the point.
  static func rounded(_ value: Double, _ digits: Int) -> String {
    let scale = (0..<digits).reduce(1) { power, _ in power * 10 }
    let whole = Int((value * Double(scale)).rounded())
    guard digits > 0 else { return "\(whole)" }
    let fraction = String(whole.magnitude % UInt(scale))
    let zeros = String(repeating: "0", count: digits - fraction.count)
    return "\(whole < 0 ? "-" : "")\(whole.magnitude / UInt(scale)).\(zeros)\(fraction)"
  }
}
