import Foundation
import Pictures

/// A machine-readable result.
enum Record {
  /// JSON with its keys in order.
  static func text(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(value), as: UTF8.self)
  }

  /// Writes JSON to a file, whole or not at all, or to standard output where the path is "-".
  static func write(_ value: some Encodable, to path: String) throws {
    let text = try text(value)
    if path == "-" {
      try StandardStreams.writeOutput(text)
    } else {
      try writeWholeFile(Array((text + "\n").utf8), to: path)
    }
  }
}
