import Foundation
import MVAR
import Pictures
import Testing

@testable import MVARServer

/// Answers that take long to be taken, over real sockets.
struct DownloadTests {
  /// Draws pictures whose files are large, as noise is.
  private struct NoisyEngine: PictureEngine {
    static let side = 2048
    let facts = EngineFacts(
      name: "noisy", classes: 1000, width: side, height: side,
      schedule: try! ScaleSchedule(squares: [1]), dtype: "float32", device: "cpu", edits: false)

    func draw(
      _ tasks: [PictureTask], previews: Bool, report: @Sendable (DrawnScale) async -> Void
    ) async throws {
      // It repeats itself, after longer than a compressor looks back.
      var pixels = (0..<3 * 32 * Self.side).map { _ in UInt8.random(in: 0...255) }
      while pixels.count < 3 * Self.side * Self.side { pixels += pixels }
      let picture = Picture(width: Self.side, height: Self.side, pixels: pixels)
      let places = tasks.indices.map { ($0, picture) }
      await report(
        DrawnScale(index: 0, count: 1, pictures: Dictionary(uniqueKeysWithValues: places)))
    }

    func validate(_ task: PictureTask) {}
  }

  /// Reads with pauses that make it take longer than any limit, on a thread of its own: a client is not held up by what else this
  /// process is at.
  ///
  /// - Returns: How much came, and its end.
  private static func take(_ connection: RawConnection) async -> (bytes: Int, end: String) {
    await withCheckedContinuation { continuation in
      Thread.detachNewThread {
        let deadline = ContinuousClock.now + .seconds(60)
        var (bytes, text, pause) = (0, "", 2 << 20)
        while ContinuousClock.now < deadline, !text.hasSuffix("}"), let more = connection.received()
        {
          if more.isEmpty { usleep(2000) }
          bytes += more.utf8.count
          text = String((text + more).suffix(20))
          while bytes > pause {
            pause += 2 << 20
            usleep(300_000)
          }
        }
        continuation.resume(returning: (bytes, text))
      }
    }
  }

  @Test func whoTakesALongAnswerSlowlyGetsAllOfIt() async throws {
    let limits = ConnectionLimits(head: .milliseconds(500), write: .seconds(3))
    try await withServer(NoisyEngine(), over: .live, configure: { $0.connection = limits }) {
      client in
      let slow = try RawConnection(port: try #require(client.client.port))
      let body = #"{"class": 1, "n": 2}"#
      slow.send(
        "POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\n"
          + "Content-Type: application/json\r\nContent-Length: \(body.count)\r\n\r\n" + body)
      let (bytes, text) = await Self.take(slow)
      #expect(bytes > 24 << 20 && text.hasSuffix("}"), "\(bytes) bytes, then \(text)")
      try await eventually("the server closes an idle connection") { slow.received() == nil }
    }
  }
}
