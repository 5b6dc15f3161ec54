import CheckpointFormats
import Testing

/// A file of PyTorch's old format, put together by hand as its serialization.py (version 1.5) writes it.
struct OldFile {
  var version = 1001
  var littleEndianMachine = true
  /// What the list of storages names, and the count that stands before the bytes.
  var keys = ["0", "1"]
  var count = 6

  var bytes: [UInt8] {
    let magic: [UInt8] = [
      0x80, 2, 0x8A, 10, 0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19, 0x2E,
    ]
    let machine = Pickle.dictionary([
      ("protocol_version", .int(1001)),
      ("little_endian", .raw([littleEndianMachine ? 0x88 : 0x89])),
    ])
    let object = Pickle.ordered([
      ("a.weight", tensor("0", count: 6, shape: [2, 3], strides: [1, 2])),
      ("a.bias", tensor("1", count: 2, shape: [2], strides: [1])),
    ])
    return magic + Pickle.int(version).program + machine.program + object.program
      + Pickle.list(keys.map(Pickle.string)).program
      + littleEndian(count, 8) + (0..<6).flatMap { floatBytes(Float($0)) }
      + littleEndian(2, 8) + [Float(7), 8].flatMap(floatBytes)
  }

  /// A tensor whose persistent id has the sixth part that told of views.
  private func tensor(_ key: String, count: Int, shape: [Int], strides: [Int]) -> Pickle {
    let storage = Pickle.tuple([
      .string("storage"), .raw(Array("ctorch\nFloatStorage\n".utf8)), .string(key), .string("cpu"),
      .int(count), .none,
    ])
    return .call(
      "torch._utils", "_rebuild_tensor_v2",
      [
        .raw(storage.code + Array("Q".utf8)), .int(0), .tuple(shape.map(Pickle.int)),
        .tuple(strides.map(Pickle.int)), .raw([0x89]), .ordered([]),
      ])
  }

  private func floatBytes(_ value: Float) -> [UInt8] { littleEndian(Int(value.bitPattern), 4) }
}

@Suite struct OldPyTorchFileTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func read(_ bytes: [UInt8]) throws -> PyTorchArchive {
    try PyTorchArchive(oldFile: try folder.write(bytes, to: "old.pth"))
  }

  @Test func tensorsAndTheirBytes() throws {
    let archive = try read(OldFile().bytes)
    #expect(archive.tensors.map(\.name) == ["a.weight", "a.bias"])
    #expect(archive.tensors[0].strides == [1, 2])
    #expect(archive.groups == [""])
    let file = try MappedFile(archive.file)
    for (tensor, expected) in zip(archive.tensors, [[0, 1, 2, 3, 4, 5], [7, 8]] as [[Float]]) {
      let bytes = try file.bytes(at: tensor.storage.offset, count: tensor.storage.count)
      let values = (0..<expected.count).map {
        bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self)
      }
      #expect(values == expected)
    }
  }

  @Test(arguments: [
    (OldFile(version: 1000), "1001"), (OldFile(keys: ["0", "0"]), "twice"),
    (OldFile(keys: ["0", "2"]), "not described"), (OldFile(keys: ["0"]), "a.bias"),
    (OldFile(count: 5), "not whole"),
  ])
  func damaged(file: OldFile, part: String) {
    expectFailure(.malformed, "old.pth", part) { _ = try read(file.bytes) }
  }

  @Test func foreignByteOrder() {
    expectFailure(.unsupported, "little-endian") {
      _ = try read(OldFile(littleEndianMachine: false).bytes)
    }
  }

  @Test func cutAnywhere() {
    let bytes = OldFile().bytes
    for count in stride(from: 15, to: bytes.count, by: 7) {
      #expect(throws: CheckpointFormatError.self) { _ = try read(Array(bytes.prefix(count))) }
    }
  }
}
