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
  }
}
