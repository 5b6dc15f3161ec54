import TorchTestSupport
import Foundation
import Testing

extension CommandTests {
  @Test func benchMeasures() throws {
    let folder = try TemporaryFolder()
    let arguments = ["bench", "--depth", "1", "--repeat", "1", "--json"] + Mvar.exact
    let run = try Mvar.run(arguments, in: folder).expectSuccess()
    let record = try #require(
      try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as? [String: Any])
    let seconds = try #require(record["seconds_per_image"] as? [String: Double])
    #expect(abs(seconds["total"]! - seconds["transformer"]! - seconds["decoder"]!) < 1e-6)
    #expect(try #require(record["peak_rss_bytes"] as? Int) > 1 << 20)
    let scales = try #require(record["seconds_by_scale"] as? [Double])
    #expect(scales.count == 10)
    // The same times added up, but for rounding.
    #expect(abs(scales.reduce(0, +) - seconds["transformer"]!) < 1e-4)
  }

  @Test func benchComparesPrecisions() throws {
    let folder = try TemporaryFolder()
    let arguments = ["bench", "--depth", "1", "--agreement", "--json"] + Mvar.exact
    let run = try Mvar.run(arguments, in: folder).expectSuccess()
    let record = try #require(
      try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as? [String: Any])
    // The same precision in the same operations.
    #expect(record["equal_tokens"] as? Double == 1)
    #expect(record["mean_absolute_difference"] as? Double == 0)
  }
}
