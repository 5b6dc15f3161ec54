import TorchTestSupport
import Foundation
import Pictures
import Testing

@testable import MVARTraining

/// Event files, byte by byte.
@Suite struct TensorBoardLogTests {
  /// From RFC 3720, appendix B.4, and the check value of the catalogue of CRCs.
  @Test func checksums() {
    #expect(CRC32C.checksum([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
    #expect(CRC32C.checksum([UInt8](repeating: 0xFF, count: 32)) == 0x62A8_AB43)
    #expect(CRC32C.checksum((0..<32).map { UInt8($0) }) == 0x46DD_794E)
    #expect(CRC32C.checksum("123456789".utf8) == 0xE306_9283)
  }

  @Test func integersOfEveryLength() {
    var message = WireMessage()
    message.add(1, Int64(300))
    message.add(16, Int64(-1))
    #expect(
      message.bytes == [0x08, 0xAC, 0x02, 0x80, 0x01] + [UInt8](repeating: 0xFF, count: 9) + [1])
  }

  /// The file that `Fixtures/logs/check.py` read back with TensorBoard's own package.
  @Test func theFileIsTheOneThatTensorBoardRead() throws {
    let folder = try TemporaryFolder()
    let log = try write(to: folder.path)
    let golden = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "Fixtures/logs/events.golden")
    let bytes = try Data(contentsOf: URL(filePath: log.path))
    #expect(log.path.hasSuffix("/events.out.tfevents.1700000000.host.7.0"))
    if let target = ProcessInfo.processInfo.environment["MVAR_WRITE_GOLDEN_EVENTS"] {
      try bytes.write(to: URL(filePath: target))
    }
    #expect(try bytes == Data(contentsOf: golden))
  }

  @Test func twoRunsDoNotShareAFile() throws {
    let folder = try TemporaryFolder()
    #expect(try write(to: folder.path).path != write(to: folder.path).path)
    let error = #expect(throws: TrainingError.self) {
      _ = try TensorBoardLog(folder: "/dev/null/runs")
    }
    #expect(error?.description.contains("/dev/null/runs") == true)
  }

  private func write(to folder: String) throws -> TensorBoardLog {
    var time = 1_700_000_000.0
    let log = try TensorBoardLog(folder: folder, host: "host", process: 7) {
      defer { time += 0.5 }
      return time
    }
    for step in 1...5 {
      try log.record(["train/loss": 1 / Double(step), "train/usage/scale1": 50], step: 100 * step)
    }
    let colors: [UInt8] = [255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30, 40, 50, 60, 70, 80, 90]
    try log.record(Picture(width: 3, height: 2, pixels: colors), name: "samples", step: 200)
    try log.record(text: "# Settings\n\nβ 0.25", name: "settings", step: 0)
    try log.rewind(to: 300)
    try log.record(["train/loss": 0.25], step: 301)
    try log.flush()
    return log
  }
}
