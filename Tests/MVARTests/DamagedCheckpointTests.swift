import CheckpointFormats
import Foundation
import Testing
import Torch
import TorchTestSupport

@testable import MVAR

/// Files that are no sound checkpoints: one clear line, nothing run, nothing left behind.
@Suite struct DamagedCheckpointTests {
  init() throws { try LibTorch.load() }

  @Test(arguments: [0.1, 0.5, 0.99, 0.99999]) func aTruncatedArchive(part: Double) throws {
    let folder = try TemporaryFolder()
    let whole = try Data(contentsOf: URL(filePath: Golden.mvar64.modelFile))
    let file = try folder.write(
      whole.prefix(Int(Double(whole.count) * part)), to: "model.pth")
    let error = #expect(throws: CheckpointFormatError.self) { _ = try Checkpoint(file) }
    #expect(error?.kind == .malformed)
    expectLine(error, file, "cut off at", "fetch it again")
  }

  /// The end is there and the middle is not.
  @Test(arguments: [0.0, 0.3, 0.9]) func anArchiveWithAHole(start: Double) throws {
    let folder = try TemporaryFolder()
    var bytes = try Data(contentsOf: URL(filePath: Golden.mvar64.modelFile))
    let place = 4 + Int(Double(bytes.count) * start)
    bytes.removeSubrange(place..<place + 10_000)
    let file = try folder.write(bytes, to: "model.pth")
    let error = #expect(throws: (any Error).self) { _ = try Transformer.load(Checkpoint(file)) }
    expectLine(error, file, "fetch it again")
  }

  @Test func aTruncatedSafetensorsFile() throws {
    let folder = try TemporaryFolder()
    let file = try CheckpointFixture.write(.transformer, in: folder)
    let bytes = try Data(contentsOf: URL(filePath: file))
    _ = try folder.write(bytes.dropLast(1), to: "model.safetensors")
    let error = #expect(throws: CheckpointFormatError.self) { _ = try Checkpoint(file) }
    expectLine(error, file, "fetch it again")
  }

  @Test(arguments: [
    Data(), Data("<html>404</html>".utf8), Data("hello".utf8), Data([0x89, 0x50, 0x4E, 0x47]),
    Data("PK\u{3}\u{4}".utf8), Data("{}".utf8), Data(repeating: 0, count: 100),
  ])
  func noCheckpointAtAll(_ bytes: Data) throws {
    let folder = try TemporaryFolder()
    let file = try folder.write(bytes, to: "model.pth")
    let error = #expect(throws: CheckpointFormatError.self) { _ = try Checkpoint(file) }
    expectLine(error, file)
  }

  @Test func noFileAtAll() throws {
    let folder = try TemporaryFolder()
    for path in [folder.file("nothing.pth"), folder.path] {
      let error = #expect(throws: CheckpointFormatError.self) { _ = try Checkpoint(path) }
      #expect(error?.kind == .inputOutput)
      expectLine(error, path)
    }
  }

  @Test func compressedRecordsAreNotRead() throws {
    let file = CheckpointFixture.compressed
    let error = #expect(throws: CheckpointFormatError.self) { _ = try Checkpoint(file) }
    #expect(error?.kind == .unsupported)
    expectLine(error, file, "is compressed")
  }

  @Test func aPickleThatCallsIsRefusedAndNotRun() throws {
    let mark = "/tmp/mvar-tests-pickle-was-run"  // As make.py has it.
    try? FileManager.default.removeItem(atPath: mark)
    let file = CheckpointFixture.malicious
    let error = #expect(throws: CheckpointFormatError.self) { _ = try Checkpoint(file) }
    #expect(error?.kind == .refused)
    expectLine(error, file, "refused", "system")
    #expect(!FileManager.default.fileExists(atPath: mark))
  }

  @Test func anUnwritablePlaceIsNamedAndNothingIsLeft() throws {
    let folder = try TemporaryFolder()
    let path = folder.file("no/such/folder/x.safetensors")
    let error = #expect(throws: CheckpointFormatError.self) {
      try Checkpoint(CheckpointFixture.distributed).convert(to: path)
    }
    #expect(error?.kind == .inputOutput)
    expectLine(error, path)
    #expect(try folder.contents == [])
  }

  @Test func anInterruptedConversionLeavesNothing() throws {
    struct Stop: Error {}
    let folder = try TemporaryFolder()
    #expect(throws: Stop.self) {
      try Checkpoint(CheckpointFixture.distributed).convert(to: folder.file("x")) { done, _ in
        if done == 5 { throw Stop() }
      }
    }
    #expect(try folder.contents == [])
  }
}
