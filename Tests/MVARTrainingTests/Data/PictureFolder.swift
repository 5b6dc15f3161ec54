import Foundation
import Pictures
import Testing

@testable import MVARTraining

/// A folder of small pictures that is gone when it goes out of use.
final class PictureFolder: Sendable {
  let path: String

  init() throws {
    path = FileManager.default.temporaryDirectory.appending(path: "data-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func file(_ name: String) -> String { "\(path)/\(name)" }

  func write(_ bytes: [UInt8], to name: String) throws {
    let url = URL(filePath: file(name))
    try FileManager.default.createDirectory(
      at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
    try Data(bytes).write(to: url)
  }

  func write(_ text: String, to name: String) throws { try write(Array(text.utf8), to: name) }

  /// A picture whose colours tell its number and every place in it.
  static func picture(_ number: Int, width: Int = 20, height: Int = 16) -> Picture {
    var pixels: [UInt8] = []
    for y in 0..<height {
      for x in 0..<width {
        pixels += [UInt8(8 * number & 255), UInt8(x * 255 / width), UInt8(y * 255 / height)]
      }
    }
    return Picture(width: width, height: height, pixels: pixels)
  }

  func add(_ name: String, number: Int, width: Int = 20, height: Int = 16) throws {
    let format = try PictureFormat(endingOf: name)
    try write(
      Self.picture(number, width: width, height: height).encoded(as: format), to: name)
  }

  /// `count` pictures in each of some class folders; picture i of class c has the number 100 c + i … in
  /// steps that stay apart.
  static func classes(_ names: [String], count: Int) throws -> PictureFolder {
    let folder = try PictureFolder()
    for (label, name) in names.enumerated() {
      for index in 0..<count {
        try folder.add("\(name)/\(index).png", number: label * count + index)
      }
    }
    return folder
  }
}

/// The error that a body throws, whose one line must hold all the given parts.
func expectTrainingError(
  _ kind: TrainingError.Kind, _ parts: String..., at location: SourceLocation = #_sourceLocation,
  _ body: () throws -> Void
) {
  let error = #expect(throws: TrainingError.self, sourceLocation: location) { try body() }
  guard let error else { return }
  #expect(error.kind == kind, "\(error)", sourceLocation: location)
  for part in parts {
    #expect(error.description.contains(part), "\(error)", sourceLocation: location)
  }
  #expect(!error.description.contains("\n"), "\(error)", sourceLocation: location)
}

/// From now on no file can be opened; for a process of its own, which nothing gives the limit back to.
func allowNoMoreOpenFiles() {
  #if canImport(Glibc)
    let kind = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
  #else
    let kind = RLIMIT_NOFILE
  #endif
  var none = rlimit(rlim_cur: 0, rlim_max: 0)
  #expect(setrlimit(kind, &none) == 0)
}
