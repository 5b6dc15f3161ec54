import Foundation
@testable import MVAREvaluation
import Pictures
import Testing
import Torch
import TorchTestSupport

@Suite struct NumPyHeaderTests {
  private func parse(_ text: String) throws -> NumPyHeader {
    try NumPyHeader(parsing: Array(text.utf8))
  }

  @Test func goodOnes() throws {
    #expect(
      try parse("{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }    \n")
        == NumPyHeader(.float64, shape: [3, 4]))
    #expect(
      try parse("{\"shape\":(2L,),\"descr\":\"|u1\",\"fortran_order\":True}")
        == NumPyHeader(.uint8, shape: [2]))
    #expect(
      try parse("{'descr': '<f4', 'fortran_order': False, 'shape': ()}").elementCount == 1)
  }

  @Test(arguments: [
    ("{'descr': '>f8', 'fortran_order': False, 'shape': (3,)}", ">f8"),
    ("{'descr': '|O', 'fortran_order': False, 'shape': (3,)}", "|O"),
    ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,)}", "records"),
    ("{'descr': '<f8', 'fortran_order': True, 'shape': (3, 2, 2)}", "Fortran"),
    ("{'descr': '<f8', 'fortran_order': False}", "lacks"),
    ("{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999, 9999999999)}", "impossible"),
    ("{'descr': '<f8', 'fortran_order': False, 'shape': (-3,)}", "cannot be read"),
    (
      "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999,)}", "cannot be read"
    ),
    ("{'descr': '<f8', 'fortran_order': False, 'shape': (3,)} x", "cannot be read"),
    ("__import__('os').system('true')", "cannot be read"), ("{", "cannot be read"), ("", "cannot"),
    ("{'descr': '<f8', 'fortran_order': False, 'shape': (3,), 'more': 'x'}", "unknown entry more"),
  ])
  func badOnes(text: String, part: String) {
    let problem = #expect(throws: NumPyHeader.Problem.self) { try parse(text) }
    #expect(problem?.text.contains(part) == true, "\(problem?.text ?? "")")
  }

  @Test(arguments: [[], [1], [3, 4, 5], [50_000, 256, 256, 3]])
  func written(shape: [Int]) throws {
    let header = NumPyHeader(.float32, shape: shape)
    let bytes = header.bytes
    #expect(bytes.count % 64 == 0)
    let (prefix, count) = try NumPyHeader.extent(of: Array(bytes.prefix(12)))
    #expect(prefix + count == bytes.count)
    #expect(try NumPyHeader(parsing: Array(bytes[prefix...])) == header)
  }
}

@Suite struct NumPyArchiveTests {
  let folder: TemporaryFolder

  init() throws {
    folder = try TemporaryFolder()
    try LibTorch.load()
  }

  /// numpy.npz and compressed.npz of the fixtures, which NumPy wrote.
  @Test(arguments: ["numpy.npz", "compressed.npz"])
  func writtenByNumPy(name: String) async throws {
    let archive = try NumPyArchive("\(Expected.folder)/\(name)")
    #expect(archive.entries.map(\.name) == ["arr_0", "mu", "sigma", "half", "fortran"])
    #expect(try archive.doubles(archive["fortran"]!) == [0, 1, 2, 3, 4, 5])
    #expect(
      archive.unread.count == 1 && archive.summary.contains("names holds numbers of type <U5"))
    #expect(try archive.doubles(archive["mu"]!) == [0, 0.5, 1])
    #expect(try archive.floats(archive["sigma"]!) == [1, 0, 0, 0, 2, 0, 0, 0, 3])
    #expect(try archive.doubles(archive["half"]!) == [1.5, -0.25, 65504, 0x1p-24])
    let pictures = try NumPyPictures("\(Expected.folder)/\(name)")
    #expect(pictures.count == 3)
    let expected = (0..<3).map { n in
      Picture(width: 3, height: 2, pixels: (0..<18).map { UInt8(n * 18 + $0) })
    }
    #expect(try await pictures.pictures(0..<2) == Array(expected[0..<2]))
    #expect(try await pictures.pictures(2..<3) == Array(expected[2...]))
    #expect(try await pictures.pictures(1..<2) == Array(expected[1..<2]))
  }

  @Test func writtenAndRead() throws {
    let values = try numbers(6000, seed: 1)
    var given = 0
    let bytes = NumPyWriter.Item("arr_0", NumPyHeader(.uint8, shape: [70_000, 2, 2, 3])) { _ in
      guard given < 70_000 else { return [] }
      given += 1
      return [UInt8](repeating: UInt8(given % 256), count: 12)
    }
    let path = folder.file("all.npz")
    try NumPyWriter.write(
      [
        .init("mu", shape: [60, 100], values), .init("floats", shape: [3], [1, 2, 3] as [Float]),
        bytes,
      ], to: path)
    let archive = try NumPyArchive(path)
    #expect(try archive.doubles(archive["mu"]!) == values)
    #expect(archive["mu"]!.header.shape == [60, 100])
    #expect(try archive.floats(archive["floats"]!) == [1, 2, 3])
    let stream = try archive.stream(archive["arr_0"]!)
    for index in 1...70_000 {
      let bytes = try stream.next(12)
      if index % 9999 == 0 { #expect(bytes.allSatisfy { $0 == UInt8(index % 256) }) }
    }
    #expect(try folder.contents == ["all.npz"])
  }

  @Test func aFailureLeavesNothing() throws {
    struct Failure: Error {}
    let path = folder.file("x.npz")
    let item = NumPyWriter.Item("a", NumPyHeader(.float32, shape: [1000])) { _ in throw Failure() }
    #expect(throws: Failure.self) { try NumPyWriter.write([item], to: path) }
    #expect(try folder.contents.isEmpty)
    #expect(throws: EvaluationError.self) {
      try NumPyWriter.write([.init("a", shape: [1], [1.0])], to: "/nowhere/x.npz")
    }
  }

  @Test func otherFiles() async throws {
    await expectFailure(.inputOutput, "/nowhere.npz", "check the path") {
      _ = try NumPyArchive("/nowhere.npz")
    }
    let text = folder.file("text.npz")
    try Data("not a zip file at all, but long enough".utf8).write(to: URL(filePath: text))
    await expectFailure(.wrongKind, "text.npz", "is not a .npz file") { _ = try NumPyArchive(text) }
    let grey = folder.file("grey.npz")
    let item = NumPyWriter.Item(
      "arr_0", shape: [2, 4, 4], [Float](repeating: 0, count: 32))
    try NumPyWriter.write([item], to: grey)
    await expectFailure(.wrongKind, "grey.npz", "arr_0 [2, 4, 4] float32", "[N, H, W, 3] uint8") {
      _ = try NumPyPictures(grey)
    }
  }

  /// Damaged anywhere, a file is refused or read, and nothing worse.
  @Test func damage() throws {
    let good = try Data(contentsOf: URL(filePath: "\(Expected.folder)/numpy.npz"))
    let path = folder.file("damaged.npz")
    var state: UInt64 = 1
    func random(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int((state >> 33) % UInt64(bound))
    }
    for round in 0..<400 {
      var bytes = [UInt8](good)
      if round % 4 == 0 {
        bytes.removeLast(random(bytes.count))
      } else {
        for _ in 0...random(4) { bytes[random(bytes.count)] = UInt8(random(256)) }
      }
      try Data(bytes).write(to: URL(filePath: path))
      do {
        let archive = try NumPyArchive(path)
        for entry in archive.entries { _ = try archive.stream(entry).next(entry.header.byteCount) }
      } catch {
        #expect(!error.description.contains("\n"))
      }
    }
  }
}

/// An archive whose one array and whose directory both say that it has 2^60 bytes.
@Suite struct HostileArchiveTests {
  private static let bytes =
    "UEsDBC0AAAAIAAAAIQBH16kG//////////8MABQAZmVhdHVyZXMubnB5AQAQAFcAAAAAAAAUVAAAAAAAAACb7BfqGxDJyODL"
    + "UK2eklqcXKRupaBuk2airqOgnpZfVFKUmBefX5SSChJ3S8wpTgWKF2ckFqQC+RpGFoYm5iaW5mbmhgZmpmY6CoZGFgaaOgq1"
    + "XABQSwECLQAtAAAACAAAACEAR9epBv//////////DAAUAAAAAAAAAAAAAAAAAAAAZmVhdHVyZXMubnB5AQAQAFcAAAAAAAAU"
    + "VAAAAAAAAABQSwUGAAAAAAEAAQBOAAAAkgAAAAAA"

  @Test func isNotBelieved() throws {
    let folder = try TemporaryFolder()
    let path = try folder.write(Data(base64Encoded: Self.bytes)!, to: "giant.npz")
    let error = #expect(throws: EvaluationError.self) { try NumPyArchive(path) }
    #expect(error?.kind == .malformed)
  }
}
