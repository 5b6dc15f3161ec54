import CheckpointFormats
import Foundation

/// The files that the reference code wrote; Tests/Fixtures says how.
enum Golden {
  /// The path of a golden file.
  static func path(_ name: String) -> String {
    URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "Fixtures/golden/\(name)").path
  }

  static func archive(_ name: String) throws -> PyTorchArchive {
    try PyTorchArchive(try StoredZip(readFile(path(name))), file: path(name))
  }

  /// The pickle inside a golden checkpoint.
  static func pickle(_ name: String) throws -> [UInt8] {
    let zip = try StoredZip(readFile(path(name)))
    return try zip.record(zip.recordNames.first { $0.hasSuffix("data.pkl") }!)
  }
}
