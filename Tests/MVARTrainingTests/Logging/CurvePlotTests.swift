import TorchTestSupport
import Foundation
import Testing

@testable import MVARTraining

/// Logs read back, and curves drawn of them.
@Suite struct CurvePlotTests {
  private func log(_ text: String, in folder: TemporaryFolder, _ name: String = "log.jsonl") throws
    -> String
  {
    try Data(text.utf8).write(to: URL(filePath: folder.file(name)))
    return folder.path
  }

  @Test func linesBecomeCurves() throws {
    let folder = try TemporaryFolder()
    let path = try log(
      "{\"step\":1,\"train/loss\":4,\"train/accuracy\":10.5}\n{\"step\":2,\"train/loss\":null}\n\n{\"step\":3,\"train/loss\":2.5}\n{\"step\":4,\"tr",
      in: folder)
    let run = try RunCurves(path)
    #expect(run.name == path.split(separator: "/").last.map(String.init))
    #expect(run.curves["train/loss"] == RunCurves.Curve(steps: [1, 3], values: [4, 2.5]))
    #expect(run.curves["train/accuracy"] == RunCurves.Curve(steps: [1], values: [10.5]))
    #expect(try RunCurves(folder.file("log.jsonl")).name == run.name)
  }

  @Test func badLogsAreNamed() throws {
    let folder = try TemporaryFolder()
    expectTrainingError(.file, folder.path, "no .jsonl") { _ = try RunCurves(folder.path) }
    expectTrainingError(.file, "nowhere") { _ = try RunCurves(folder.file("nowhere")) }
    let path = try log("{\"step\":1,\"a\":1}\nnonsense\n", in: folder)
    expectTrainingError(.file, "log.jsonl", "line 2") { _ = try RunCurves(path) }
  }

  private let runs = [
    RunCurves(
      name: "a<b",
      curves: [
        "train/loss": .init(steps: [0, 50, 100], values: [8, 4, 2]),
        "validation/loss": .init(steps: [100], values: [3]), "rate": .init(steps: [1], values: [1]),
      ]),
    RunCurves(name: "second", curves: ["train/loss": .init(steps: [0, 100], values: [6, 5])]),
  ]

  @Test func everyRunHasItsLine() throws {
    let svg = try CurvePlot().svg(runs)
    #expect(svg.components(separatedBy: "<polyline").count == 3)
    #expect(svg.components(separatedBy: "<circle").count == 2)  // one validation
    #expect(svg.contains("a&lt;b") && !svg.contains("a<b"))
    #expect(!svg.contains(">accuracy<"))  // no run has any
    #expect(svg.contains("<title>train/loss</title>"))
    // Well formed: every element that opens closes.
    let parser = XMLWellFormed(svg)
    #expect(parser.isWellFormed, "\(svg)")
  }

  /// The first and last points of a curve lie on the left and right edges; a higher loss lies higher.
  @Test func pointsLieWhereTheyBelong() throws {
    let svg = try CurvePlot(metrics: ["loss"]).svg(runs)
    let line = try #require(svg.components(separatedBy: "points=\"").dropFirst().first)
    let points = line.prefix { $0 != "\"" }.split(separator: " ").map {
      $0.split(separator: ",").compactMap { Double($0) }
    }
    #expect(points.map { $0[0] } == [70, 505, 940])
    #expect(points[0][1] < points[1][1] && points[1][1] < points[2][1])
    // Linear: 8 to 4 is twice as far as 4 to 2.
    #expect(abs((points[1][1] - points[0][1]) - 2 * (points[2][1] - points[1][1])) < 0.05)
    var plot = CurvePlot(metrics: ["loss"])
    plot.isLogarithmic = true
    let other = try plot.svg(runs).components(separatedBy: "points=\"")[1]
    let ys = other.prefix { $0 != "\"" }.split(separator: " ").compactMap {
      $0.split(separator: ",").last.flatMap { Double($0) }
    }
    #expect(abs((ys[1] - ys[0]) - (ys[2] - ys[1])) < 0.05)
  }

  @Test func smoothingAverages() throws {
    var plot = CurvePlot(metrics: ["loss"])
    plot.smoothing = 1000
    let noisy = RunCurves(
      name: "n",
      curves: ["loss": .init(steps: Array(1...50), values: (1...50).map { Double($0 % 2) })])
    let line = try plot.svg([noisy]).components(separatedBy: "points=\"")[1]
    let ys = line.prefix { $0 != "\"" }.split(separator: " ").compactMap {
      $0.split(separator: ",").last.flatMap { Double($0) }
    }
    let jumps = zip(ys, ys.dropFirst()).map { abs($0 - $1) }
    #expect(jumps.max()! < 10)
  }

  @Test func unknownNumbersAreToldWithThoseThereAre() throws {
    expectTrainingError(.setting, "fid", "rate, train/loss, validation/loss") {
      _ = try CurvePlot(metrics: ["fid"]).svg(runs)
    }
  }

  @Test(arguments: [[0.0, 1], [3, 3], [0.001, 0.0011], [-5, 1e6]]) func axesHaveAFewRoundTicks(
    _ values: [Double]
  ) {
    let axis = Axis(values, isLogarithmic: false, whole: false)
    #expect((2...8).contains(axis.ticks.count), "\(axis.ticks)")
    #expect(axis.ticks.allSatisfy { (-1e-9...1 + 1e-9).contains(axis.place($0)) })
    #expect(values.allSatisfy { (0...1).contains(axis.place($0)) })
  }
}

/// Whether elements nest and close.
private struct XMLWellFormed {
  let isWellFormed: Bool

  init(_ text: String) {
    var open: [Substring] = []
    var good = true
    for part in text.split(separator: "<").dropFirst(text.hasPrefix("<") ? 0 : 1) {
      guard let end = part.firstIndex(of: ">") else {
        good = false
        break
      }
      let tag = part[..<end]
      let name = tag.drop { $0 == "/" }.prefix { $0.isLetter }
      if tag.hasPrefix("/") {
        good = good && open.popLast() == name
      } else if !tag.hasSuffix("/") {
        open.append(name)
      }
    }
    isWellFormed = good && open.isEmpty
  }
}
