import Foundation
import MVAR
@testable import MVAREvaluation
import Testing

@Suite struct SweepTests {
  @Test func values() throws {
    #expect(try Sweep(parsing: "guidance=1.0:3.0:0.25").values.count == 9)
    #expect(try Sweep(parsing: "guidance=1:1.3:0.1").values == [1, 1.1, 1.2, 1.3])
    let topK = try Sweep(parsing: "top-k=100,300,900")
    #expect(topK.applied(to: SamplingSettings(), 300).topK == 300)
    #expect(topK.label(300) == "300")
    #expect(try Sweep(parsing: "top-p=0.5").applied(to: SamplingSettings(), 0.5).topP == 0.5)
    #expect(try Sweep(parsing: "guidance=2").label(2) == "2.0")
  }

  @Test(arguments: [
    "", "guidance", "guidance=", "speed=1", "guidance=3:1:0.5", "guidance=1:3:0", "guidance=1:3",
    "guidance=1:2:1e-9", "guidance=a,b", "top-k=1.5", "guidance=-1", "top-p=0:1:0.5",
    "guidance=nan", "guidance=1:inf:1",
  ])
  func nonsense(text: String) {
    #expect(throws: EvaluationError.self) { try Sweep(parsing: text) }
  }

  private func results() throws -> [Sweep.Point] {
    let identity = NetworkIdentity(
      metric: "FID", network: "inception", digest: "", preprocessing: "")
    let one = try GaussianStatistics(count: 5000, mean: [0], covariance: [1])
    return [(1.0, 4.5, 100.0), (1.5, 3.25, 180), (2, 3.5, 240)].map { value, fid, score in
      let scores = SetStatistics.Scores(
        paper: InceptionScore(mean: score, deviation: 1, parts: 10),
        tenParts: InceptionScore(mean: score, deviation: 1, parts: 10))
      let set = SetStatistics(
        network: identity, count: 5000, pooled: one, spatial: nil, features: nil, scores: scores)
      var result = EvaluationResult(network: identity, generated: set, reference: Reference(set))
      result.frechetDistance = fid
      return Sweep.Point(value: value, result: result)
    }
  }

  @Test func table() throws {
    let table = ResultTable("guidance", try results().map { ("\($0.value)", $0.result) }).text
    let lines = table.split(separator: "\n")
    #expect(lines.count == 5)
    #expect(lines[0] == "| guidance | FID ↓ |  IS ↑ |")
    #expect(lines[1] == "|----------|------:|------:|")
    #expect(lines[3] == "| 1.5      |  3.25 | 180.0 |")
  }

  @Test func chart() throws {
    let svg = SweepChart(try Sweep(parsing: "guidance=1:2:0.5"), try results()).svg
    let document = try XMLCheck.elements(svg)
    #expect(document.filter { $0 == "circle" }.count == 3)
    #expect(document.filter { $0 == "polyline" }.count == 1)
    #expect(svg.contains("FID against Inception score, by guidance"))
    // All marks lie inside the frame.
    for match in svg.matches(of: /c[xy]="([0-9.]+)"/) {
      #expect((0...720).contains(Double(match.1)!))
    }
  }

  @Test func chartOfOnePoint() throws {
    let svg = SweepChart(try Sweep(parsing: "guidance=1"), Array(try results().prefix(1))).svg
    #expect(!svg.contains("nan") && !svg.contains("inf\""))
  }
}

/// The names of an SVG's elements, each of which must be closed.
private enum XMLCheck {
  static func elements(_ text: String) throws -> [String] {
    var open: [String] = []
    var names: [String] = []
    for match in text.matches(of: /<(\/?)([a-z]+)[^>]*?(\/?)>/) {
      let name = String(match.2)
      if match.1.isEmpty {
        names.append(name)
        if match.3.isEmpty { open.append(name) }
      } else {
        #expect(open.popLast() == name)
      }
    }
    #expect(open.isEmpty)
    return names
  }
}
