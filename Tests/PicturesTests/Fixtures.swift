import Foundation
import Testing

@testable import Pictures

/// The folder of golden files that the test targets share.
let fixtures = URL(filePath: #filePath)
  .deletingLastPathComponent().deletingLastPathComponent().appending(path: "Fixtures")

func fixture(_ path: String) -> String { fixtures.appending(path: path).path }

func bytes(of path: String) throws -> [UInt8] {
  [UInt8](try Data(contentsOf: URL(filePath: path)))
}

/// The pictures in a safetensors file, by name: uint8 tensors of shape [H, W, 3].
func expectedPictures(_ path: String) throws -> [String: Picture] {
  struct Entry: Decodable {
    let dtype: String
    let shape: [Int]
    let dataOffsets: [Int]

    enum CodingKeys: String, CodingKey {
      case dtype, shape
      case dataOffsets = "data_offsets"
    }
  }
  let data = try bytes(of: fixture(path))
  let headerEnd = 8 + data.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
  let header = try JSONDecoder().decode(
    [String: Entry].self, from: Data(data[8..<headerEnd]))
  return try header.mapValues { entry in
    try #require(entry.dtype == "U8" && entry.shape.count == 3 && entry.shape[2] == 3)
    let range = headerEnd + entry.dataOffsets[0]..<headerEnd + entry.dataOffsets[1]
    return Picture(width: entry.shape[1], height: entry.shape[0], pixels: Array(data[range]))
  }
}

/// The largest difference of two bytes at the same place; 256 where the sizes differ.
func distance(_ a: Picture, _ b: Picture) -> Int {
  guard a.width == b.width && a.height == b.height else { return 256 }
  return zip(a.pixels, b.pixels).map { abs(Int($0) - Int($1)) }.max()!
}

/// A picture that has no symmetry.
func sample(width: Int = 31, height: Int = 17) -> Picture {
  Picture(
    width: width, height: height,
    pixels: (0..<width * height * 3).map { UInt8(truncatingIfNeeded: $0 * $0 / 7 + 3 * $0) })
}

/// A smooth picture, for lossy formats.
func gradient(width: Int = 48, height: Int = 32) -> Picture {
  var pixels: [UInt8] = []
  for y in 0..<height {
    for x in 0..<width {
      pixels += [UInt8(255 * x / width), UInt8(255 * y / height), UInt8(255 * (x + y) / 80)]
    }
  }
  return Picture(width: width, height: height, pixels: pixels)
}

/// Runs `body` with a new, empty folder, which is removed afterwards.
func withFolder(_ body: (URL) throws -> Void) throws {
  let folder = FileManager.default.temporaryDirectory.appending(path: "pictures-\(UUID())")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  try body(folder)
}

/// The error that `body` throws, which must be a ``PictureError`` of one line.
func pictureError(
  _ kind: PictureError.Kind, sourceLocation: SourceLocation = #_sourceLocation,
  _ body: () throws -> Void
) -> String {
  do {
    try body()
    Issue.record("nothing was thrown", sourceLocation: sourceLocation)
    return ""
  } catch let error as PictureError {
    #expect(error.kind == kind, "\(error)", sourceLocation: sourceLocation)
    #expect(!error.description.contains("\n"), sourceLocation: sourceLocation)
    return error.description
  } catch {
    Issue.record(error, sourceLocation: sourceLocation)
    return ""
  }
}
