import Foundation
import Testing
import TorchTestSupport

extension CommandTests {
  /// Curves of any numbers end in a picture or in one line.
  @Suite struct PlotTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func plot(_ points: [(step: Int, loss: String)], _ arguments: [String] = []) throws
      -> Mvar
    {
      let lines = points.map { "{\"step\": \($0.step), \"train/loss\": \($0.loss)}\n" }
      try folder.write(Data(lines.joined().utf8), to: "run.jsonl")
      // Ends a run that would go on for ever.
      return try Mvar.shell(
        "exec timeout 60 \"$0\" \"$@\"", ["plot", "run.jsonl", "--out", "c.svg"] + arguments,
        in: folder)
    }

    @Test(arguments: [
      [(1, "-1.7e308"), (2, "1.7e308")], [(1, "1e308"), (2, "1.7e308")],
      [(1, "100000000000000000"), (2, "100000000000000016")], [(1, "-1e308"), (2, "3")],
      [(-9_223_372_036_854_775_807, "1.5"), (9_223_372_036_854_775_807, "2.5")],
      [(9_223_372_036_854_770_000, "1.5"), (9_223_372_036_854_775_807, "2.5")],
    ]) func largeNumbers(_ points: [(Int, String)]) throws {
      let points = points.map { (step: $0.0, loss: $0.1) }
      for smoothing in ["0", "10"] {
        try plot(points, ["--smooth", smoothing]).expectSuccess()
        let svg = try String(contentsOfFile: folder.file("c.svg"), encoding: .utf8)
        #expect(svg.contains("<polyline") && !svg.contains("nan") && !svg.contains("inf"))
      }
    }

    @Test func logarithmsOfNothingPositive() throws {
      let points = [(step: 1, loss: "-1.5"), (step: 2, loss: "0.0")]
      try plot(points, ["--log"]).expectFailure(1, ["loss or accuracy above 0", "linear"])
      try plot(points, ["--log", "--metric", "rate"]).expectFailure(1, ["has rate", "train/loss"])
      try plot(points).expectSuccess()
    }

    @Test func aRunIsNotReplaced() throws {
      let line = Data("{\"step\": 1, \"train/loss\": 2.5}\n".utf8)
      try folder.write(line, to: "c.svg")
      try Mvar.run(["plot", "c.svg", "--out", "c.svg"], in: folder)
        .expectFailure(2, ["c.svg", "which is read", "--out"])
      #expect(FileManager.default.contents(atPath: folder.file("c.svg")) == line)
    }

    @Test func helpNamesEachDefaultOnce() throws {
      let help = try Mvar.run(["plot", "--help"], in: folder).expectSuccess().output
      #expect(help.contains("(default: 0.0)") && !help.contains("(default: none)"))
    }
  }
}
