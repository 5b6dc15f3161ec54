import Foundation

/// FID against the Inception score along a sweep, as an SVG picture; where there is no Inception score,
/// the distance against the swept setting.
public struct SweepChart {
  private let points: [(x: Double, y: Double, label: String)]
  private let title: String
  private let xName: String
  private let yName: String

  private static let size = (width: 720.0, height: 480.0)
  private static let frame = (left: 80.0, right: 690.0, top: 50.0, bottom: 420.0)

  public init(_ sweep: Sweep, _ results: [Sweep.Point]) {
    let hasScores = !results.isEmpty && results.allSatisfy { $0.result.scores != nil }
    points = results.map { point in
      let x = hasScores ? point.result.scores!.paper.mean : point.value
      return (x, point.result.frechetDistance, sweep.label(point.value))
    }
    yName = results.first?.result.network.metric ?? "FID"
    xName = hasScores ? "Inception score" : sweep.setting.rawValue
    title = "\(yName) against \(xName), by \(sweep.setting.rawValue)"
  }

  public var svg: String {
    let (x, y) = (Axis(points.map(\.x)), Axis(points.map(\.y)))
    let f = Self.frame
    func px(_ value: Double) -> Double { f.left + x.fraction(value) * (f.right - f.left) }
    func py(_ value: Double) -> Double { f.bottom - y.fraction(value) * (f.bottom - f.top) }
    var lines: [String] = []
    for tick in x.ticks {
      lines.append(Self.line(px(tick), f.top, px(tick), f.bottom, "#ddd"))
      lines.append(Self.text(px(tick), f.bottom + 20, "middle", x.label(tick)))
    }
    for tick in y.ticks {
      lines.append(Self.line(f.left, py(tick), f.right, py(tick), "#ddd"))
      lines.append(Self.text(f.left - 8, py(tick) + 4, "end", y.label(tick)))
    }
    let path = points.map { "\(Self.number(px($0.x))),\(Self.number(py($0.y)))" }
    lines.append(
      "<polyline points=\"\(path.joined(separator: " "))\" fill=\"none\" stroke=\"#2563eb\" "
        + "stroke-width=\"2\"/>")
    for point in points {
      let (cx, cy) = (px(point.x), py(point.y))
      lines.append(
        "<circle cx=\"\(Self.number(cx))\" cy=\"\(Self.number(cy))\" r=\"4\" fill=\"#2563eb\"/>")
      lines.append(Self.text(cx + 7, cy - 7, "start", point.label))
    }
    lines.append(Self.text((f.left + f.right) / 2, 28, "middle", title))
    lines.append(Self.text((f.left + f.right) / 2, f.bottom + 44, "middle", xName))
    lines.append(Self.text(f.left - 8, f.top - 14, "end", yName))
    return """
      <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(Int(Self.size.width)) \(Int(Self.size.height))" \
      font-family="sans-serif" font-size="13">
      <rect width="100%" height="100%" fill="white"/>
      \(lines.joined(separator: "\n"))
      </svg>

      """
  }

  private static func line(
    _ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, _ color: String
  ) -> String {
    "<line x1=\"\(number(x1))\" y1=\"\(number(y1))\" x2=\"\(number(x2))\" y2=\"\(number(y2))\" "
      + "stroke=\"\(color)\"/>"
  }

  private static func text(_ x: Double, _ y: Double, _ anchor: String, _ text: String) -> String {
    let escaped = text.replacing("&", with: "&amp;").replacing("<", with: "&lt;")
    return "<text x=\"\(number(x))\" y=\"\(number(y))\" text-anchor=\"\(anchor)\">\(escaped)</text>"
  }

  private static func number(_ value: Double) -> String { String(format: "%.1f", value) }
}

/// A range of round numbers around values, with marks at round steps.
private struct Axis {
  let ticks: [Double]
  private let step: Double

  init(_ values: [Double]) {
    let finite = values.filter(\.isFinite)
    let (low, high) = (finite.min() ?? 0, finite.max() ?? 1)
    let span = max(high - low, abs(high) * 1e-6, 1e-9)
    let power = Foundation.pow(10, Foundation.floor(Foundation.log10(span / 4)))
    step = [1, 2, 5, 10].map { $0 * power }.first { span / $0 <= 6 } ?? 10 * power
    let first = Int(Foundation.floor((low - span * 0.05) / step))
    let last = Int(Foundation.ceil((high + span * 0.05) / step))
    let step = step
    ticks = (first...last).map { Double($0) * step }
  }

  func fraction(_ value: Double) -> Double {
    (value - ticks[0]) / (ticks[ticks.count - 1] - ticks[0])
  }

  func label(_ tick: Double) -> String {
    let digits = max(0, Int(Foundation.ceil(-Foundation.log10(step) - 1e-9)))
    return String(format: "%.\(min(digits, 9))f", tick)
  }
}
