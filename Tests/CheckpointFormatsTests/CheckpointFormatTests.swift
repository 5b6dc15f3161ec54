import CheckpointFormats
import Testing

@Suite struct CheckpointFormatTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func format(_ bytes: [UInt8]) throws -> CheckpointFormat {
    try CheckpointFormat(ofFile: try folder.write(bytes, to: "model"))
  }

  @Test func goodOnes() throws {
    let zip = Array("PK\u{3}\u{4}...PK\u{5}\u{6}".utf8) + [UInt8](repeating: 0, count: 18)
    #expect(try format(zip) == .pyTorch)
    #expect(try format(littleEndian(2, 8) + Array("{}".utf8)) == .safetensors)
    #expect(try format(Array(" {\"weight_map\":{}}".utf8)) == .safetensorsIndex)
    #expect(try format(OldFile().bytes) == .oldPyTorch)
  }

  @Test(arguments: [
    ("", "empty"), ("PK\u{3}\u{4}abc", "cut off"),
  ])
  func failedDownloads(text: String, part: String) {
    expectFailure(.malformed, "model", part, "fetch it again") { _ = try format(Array(text.utf8)) }
  }

  @Test(arguments: ["<!DOCTYPE html><html>", "\n  <HTML>", "\u{FEFF}<html"])
  func pages(text: String) {
    expectFailure(.malformed, "is a web page", "fetch the file itself") {
      _ = try format(Array(text.utf8))
    }
  }

  @Test func pointer() {
    let text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    expectFailure(.unsupported, "git-LFS pointer", "git lfs pull") {
      _ = try format(Array(text.utf8))
    }
  }

  @Test(
    arguments: [
      ([0x80, 2, 0x8A, 10, 0x6C, 0xFC], "is a pickle"), ([0x1F, 0x8B, 8, 0], "gzip"),
      ([0x28, 0xB5, 0x2F, 0xFD], "zstd"), ([0x7F, 0x45, 0x4C, 0x46, 2], "a program"),
      ([UInt8](repeating: 0, count: 257) + Array("ustar\0".utf8), "a tar archive"),
      ([0x47, 0x47, 0x55, 0x46], "GGUF"), ([0x89, 0x50, 0x4E, 0x47], "a PNG picture"),
      ([0xFF, 0xD8, 0xFF, 0xE0], "a JPEG picture"), (Array("PKs and text\n".utf8), "is text"),
      ([UInt8](repeating: 0x61, count: 511) + Array("ä and more".utf8), "is text"),
      ([0x61, 0xFF, 0x62, 0x63], "0x61 0xff 0x62 0x63"), ([0x61, 0, 0x62], "0x61 0x0 0x62"),
      ([0x80], "0x80"), ([UInt8](repeating: 0xFF, count: 9), "0xff"),
    ] as [([UInt8], String)])
  func others(bytes: [UInt8], part: String) {
    expectFailure(.unsupported, "model", part) { _ = try format(bytes) }
  }

  @Test func placesWithoutAFile() {
    expectFailure(.inputOutput, "is a folder") { _ = try CheckpointFormat(ofFile: folder.path) }
    expectFailure(.inputOutput, "check the path") {
      _ = try CheckpointFormat(ofFile: folder.file("none"))
    }
    expectFailure(.inputOutput, "not a plain file") {
      _ = try CheckpointFormat(ofFile: "/dev/null")
    }
  }
}

@Suite struct MappedFileTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test func bytesInside() throws {
    let file = try MappedFile(try folder.write([1, 2, 3, 4, 5], to: "x"))
    #expect(file.count == 5)
    #expect(try Array(file.bytes(at: 1, count: 3)) == [2, 3, 4])
    #expect(try file.bytes(at: 5, count: 0).isEmpty)
  }

  @Test(arguments: [(0, 6), (6, 0), (-1, 1), (1, -1), (5, 1), (Int.max, 1), (1, Int.max)])
  func bytesOutside(offset: Int, count: Int) throws {
    let file = try MappedFile(try folder.write([1, 2, 3, 4, 5], to: "x"))
    expectFailure(.malformed, "5 bytes") { _ = try file.bytes(at: offset, count: count) }
  }

  @Test func emptyFile() throws {
    let file = try MappedFile(try folder.write([], to: "x"))
    #expect(file.count == 0)
    #expect(try file.bytes(at: 0, count: 0).isEmpty)
  }

  @Test func noFile() {
    expectFailure(.inputOutput, "cannot be opened") { _ = try MappedFile(folder.file("none")) }
    expectFailure(.inputOutput, "is a folder") { _ = try MappedFile(folder.path) }
  }
}
