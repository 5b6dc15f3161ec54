import Foundation
import Testing

@testable import CheckpointFormats

@Suite struct SafetensorsWriterTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private static let declarations = [
    TensorDeclaration(name: "flags", elementType: .bool, shape: [3]),
    TensorDeclaration(name: "weight", elementType: .float32, shape: [2, 2]),
    TensorDeclaration(name: "nothing", elementType: .int64, shape: [0, 7]),
    TensorDeclaration(name: "scalar", elementType: .bfloat16, shape: []),
    TensorDeclaration(name: "quote\"\\\u{1}\n", elementType: .float32, shape: [1]),
  ]

  private static func bytes(of tensor: TensorDeclaration) -> [UInt8] {
    let count = TensorLayout.byteCount(of: tensor.shape, as: tensor.elementType)!
    return (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ tensor.name.utf8.count) }
  }

  @Test func roundTrip() throws {
    let path = folder.file("model.safetensors")
    let metadata = ["format": "pt", "odd \"key\"": "line\nline\t\\ ä 😀"]
    try SafetensorsWriter.write(path, tensors: Self.declarations, metadata: metadata) {
      tensor, write in
      // In two parts, the way a large tensor comes.
      let bytes = Self.bytes(of: tensor)
      try bytes.prefix(2).withUnsafeBytes(write)
      try bytes.dropFirst(2).withUnsafeBytes(write)
    }
    let file = try SafetensorsFile(path)
    #expect(file.metadata == metadata)
    #expect(Set(file.tensors.map(\.name)) == Set(Self.declarations.map(\.name)))
    let map = try MappedFile(path)
    for tensor in file.tensors {
      let declared = try #require(Self.declarations.first { $0.name == tensor.name })
      #expect(tensor.elementType == declared.elementType && tensor.shape == declared.shape)
      let place = try #require(tensor.contiguousBytes)
      #expect(
        try Array(map.bytes(at: place.offset, count: place.count)) == Self.bytes(of: declared))
      #expect(place.offset.isMultiple(of: tensor.elementType.byteCount))
    }
    #expect(try folder.contents == ["model.safetensors"])
  }

  @Test func headerIsAligned() throws {
    for length in 1...9 {
      let tensor = TensorDeclaration(
        name: String(repeating: "n", count: length), elementType: .uint8, shape: [1])
      let header = try SafetensorsHeaderText.bytes(for: [tensor], metadata: [:], file: "x")
      #expect(header.count.isMultiple(of: 8))
    }
  }

  @Test func replacesTheOldFileOnlyWhenDone() throws {
    let path = try folder.write("old", to: "model.safetensors")
    let writer = try SafetensorsWriter(path, tensors: [])
    #expect(try readFile(path) == Array("old".utf8))
    try writer.finish()
    #expect(try SafetensorsFile(path).tensors.isEmpty)
  }

  @Test func nothingIsLeftOfAFileThatIsNotFinished() throws {
    struct Stop: Error {}
    #expect(throws: Stop.self) {
      try SafetensorsWriter.write(folder.file("a"), tensors: Self.declarations) { _, _ in
        throw Stop()
      }
    }
    do {
      let writer = try SafetensorsWriter(folder.file("b"), tensors: Self.declarations)
      #expect(try folder.contents.count == 1)
      _ = writer
    }
    #expect(try folder.contents.isEmpty)
  }

  @Test func misuse() throws {
    let path = folder.file("x")
    let first = TensorDeclaration(name: "a", elementType: .uint8, shape: [2])
    let second = TensorDeclaration(name: "b", elementType: .uint8, shape: [2])
    let writer = try SafetensorsWriter(path, tensors: [first, second])
    expectFailure(.misuse, "b was given", "a's turn") {
      try writer.write(tensorNamed: "b", bytes: [1])
    }
    try writer.write(tensorNamed: "a", bytes: [1])
    expectFailure(.misuse, "a was given 2 bytes where 1") {
      try writer.write(tensorNamed: "a", bytes: [1, 2])
    }
    expectFailure(.misuse, "a got 1 of its 2 bytes") { try writer.finish() }
    try writer.write(tensorNamed: "a", bytes: [2])
    try writer.write(tensorNamed: "b", bytes: [3, 4])
    expectFailure(.misuse, "all bytes are written") {
      try writer.write(tensorNamed: "b", bytes: [5])
    }
    try writer.finish()
    expectFailure(.misuse, "two tensors are called a") {
      _ = try SafetensorsWriter(path, tensors: [first, first])
    }
    for shape in [[-1], [Int.max, 2], [Int.max]] {
      let tensor = TensorDeclaration(name: "t", elementType: .float32, shape: shape)
      expectFailure(.misuse, "t has shape") { _ = try SafetensorsWriter(path, tensors: [tensor]) }
    }
  }

  @Test func placesThatCannotBeWritten() throws {
    expectFailure(.inputOutput, "make the folder first") {
      _ = try SafetensorsWriter(folder.file("none/x"), tensors: [])
    }
    expectFailure(.inputOutput, "is a folder") {
      _ = try SafetensorsWriter(folder.path + "/", tensors: [])
    }
    try FileManager.default.createDirectory(
      atPath: folder.file("taken/inside"), withIntermediateDirectories: true)
    let writer = try SafetensorsWriter(folder.file("taken"), tensors: [])
    expectFailure(.inputOutput, "not a folder's") { try writer.finish() }
    #expect(try folder.contents == ["taken"])
  }

  @Test(.enabled(if: FileManager.default.fileExists(atPath: "/proc/self")))
  func folderWithoutPermission() {
    expectFailure(.inputOutput, "/proc/self/x: cannot be written") {
      _ = try SafetensorsWriter("/proc/self/x", tensors: [])
    }
  }

  @Test(.enabled(if: FileManager.default.fileExists(atPath: "/dev/full")))
  func fullDisk() throws {
    let file = try OutputFile(folder.file("x"), writingTo: "/dev/full")
    expectFailure(.inputOutput, "make room") {
      try [UInt8](repeating: 0, count: 4096).withRawBytes {
        (buffer) throws(CheckpointFormatError) in
        try file.write(buffer)
      }
    }
  }
}
