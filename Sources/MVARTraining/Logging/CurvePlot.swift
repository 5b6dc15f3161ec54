import Foundation

/// Curves of several runs, drawn as SVG: a panel for each kind of number, a colour for each run.
public struct CurvePlot: Sendable {
  /// Which numbers to draw: names, or the last part of names, such as `loss`.
  public var metrics: [String]
  /// How many steps' worth of neighbours each point is averaged with, by an exponential mean; 0 for none.
  public var smoothing = 0.0
  /// Of the whole picture, in pixels.
  public var width = 960.0
  public var panelHeight = 320.0
  /// Whether the vertical axes are logarithmic.
  public var isLogarithmic = false

  public init(metrics: [String] = ["loss", "accuracy"]) { self.metrics = metrics }

  private struct Line {
    let run: Int
    let name: String
    let isValidation: Bool
    let points: [(x: Double, y: Double)]
  }

  private static let colors = [
    "#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#17becf", "#7f7f7f",
  ]

  /// The plot as the text of an SVG file.
  ///
  /// - Throws: ``TrainingError`` where no run has any of the metrics; it names those that there are.
  public func svg(_ runs: [RunCurves]) throws -> String {
    let panels = metrics.map { (title: $0, lines: lines($0, runs)) }.filter { !$0.lines.isEmpty }
    if panels.isEmpty {
      if isLogarithmic, !metrics.allSatisfy({ Self.curves($0, runs).isEmpty }) {
        throw TrainingError(
          .setting,
          "no run has a \(metrics.joined(separator: " or ")) above 0, which is all that a logarithmic axis shows; "
            + "draw a linear one")
      }
      let names = Set(runs.flatMap { $0.curves.keys }).sorted(by: FolderListing.precedes)
      let some = names.prefix(12).joined(separator: ", ")
      throw TrainingError(
        .setting,
        "no run has \(metrics.joined(separator: " or ")); there are: \(some.isEmpty ? "none" : some)"
      )
    }
    let legend = 22.0 * Double((runs.count + 2) / 3) + 12
    let height = legend + panelHeight * Double(panels.count)
    var text = """
      <svg xmlns="http://www.w3.org/2000/svg" width="\(number(width))" height="\(number(height))" \
      viewBox="0 0 \(number(width)) \(number(height))" font-family="sans-serif" font-size="12">
      <rect width="100%" height="100%" fill="white"/>

      """
    text += legendText(runs)
    for (index, panel) in panels.enumerated() {
      text += self.panel(panel.title, panel.lines, top: legend + panelHeight * Double(index))
    }
    return text + "</svg>\n"
  }

  // MARK: What is drawn

  private func lines(_ metric: String, _ runs: [RunCurves]) -> [Line] {
    Self.curves(metric, runs).compactMap { run, name in
      let points = smoothed(runs[run].curves[name]!)
      guard !points.isEmpty else { return nil }
      return Line(run: run, name: name, isValidation: name.hasPrefix("validation"), points: points)
    }
  }

  private static func curves(_ metric: String, _ runs: [RunCurves]) -> [(run: Int, name: String)] {
    runs.enumerated().flatMap { index, run in
      run.curves.keys.sorted(by: FolderListing.precedes)
        .filter { $0 == metric || $0.hasSuffix("/\(metric)") }
        .map { (index, $0) }
    }
  }

  private func smoothed(_ curve: RunCurves.Curve) -> [(x: Double, y: Double)] {
    var mean: Double?
    var last = 0.0
    return zip(curve.steps.map(Double.init), curve.values).compactMap { step, value in
      guard value.isFinite, !isLogarithmic || value > 0 else { return nil }
      // An exponential mean over steps, whatever their distance.
      let keep = smoothing > 0 ? exp(-max(step - last, 1) / smoothing) : 0
      let next = mean.map { $0 * keep + value * (1 - keep) } ?? value
      (mean, last) = (next, step)
      return (step, next)
    }
  }

  private func legendText(_ runs: [RunCurves]) -> String {
    runs.enumerated().map { index, run in
      let (x, y) = (70 + Double(index % 3) * (width - 90) / 3, 20 + 22 * Double(index / 3))
      let color = Self.colors[index % Self.colors.count]
      return """
        <line x1="\(number(x))" y1="\(number(y - 4))" x2="\(number(x + 22))" y2="\(number(y - 4))" \
        stroke="\(color)" stroke-width="3"/>
        <text x="\(number(x + 28))" y="\(number(y))">\(Self.escaped(run.name))</text>

        """
    }.joined()
  }

  private func panel(_ title: String, _ lines: [Line], top: Double) -> String {
    let (left, right) = (70.0, width - 20)
    let (upper, lower) = (top + 26, top + panelHeight - 40)
    let points = lines.flatMap(\.points)
    let x = Axis(points.map(\.x), isLogarithmic: false, whole: true)
    let y = Axis(points.map(\.y), isLogarithmic: isLogarithmic, whole: false)
    func across(_ value: Double) -> Double { left + x.place(value) * (right - left) }
    func down(_ value: Double) -> Double { lower - y.place(value) * (lower - upper) }

    var text = """
      <text x="\(number(left))" y="\(number(top + 16))" font-weight="bold">\(Self.escaped(title))</text>

      """
    for tick in y.ticks {
      text += """
        <line x1="\(number(left))" y1="\(number(down(tick)))" x2="\(number(right))" \
        y2="\(number(down(tick)))" stroke="#e0e0e0"/>
        <text x="\(number(left - 6))" y="\(number(down(tick) + 4))" text-anchor="end">\(label(tick))</text>

        """
    }
    for tick in x.ticks {
      text += """
        <line x1="\(number(across(tick)))" y1="\(number(upper))" x2="\(number(across(tick)))" \
        y2="\(number(lower))" stroke="#f0f0f0"/>
        <text x="\(number(across(tick)))" y="\(number(lower + 17))" text-anchor="middle">\(label(tick))</text>

        """
    }
    text += """
      <rect x="\(number(left))" y="\(number(upper))" width="\(number(right - left))" \
      height="\(number(lower - upper))" fill="none" stroke="#808080"/>
      <text x="\(number((left + right) / 2))" y="\(number(lower + 33))" text-anchor="middle">step</text>

      """
    for line in lines { text += self.line(line, across, down) }
    return text
  }

  private func line(
    _ line: Line, _ across: (Double) -> Double, _ down: (Double) -> Double
  ) -> String {
    let color = Self.colors[line.run % Self.colors.count]
    let dashes = line.isValidation ? " stroke-dasharray=\"6 3\"" : ""
    let title = "<title>\(Self.escaped(line.name))</title>"
    if line.points.count == 1 {
      let (x, y) = (across(line.points[0].x), down(line.points[0].y))
      return
        "<circle cx=\"\(number(x))\" cy=\"\(number(y))\" r=\"3\" fill=\"\(color)\">\(title)</circle>\n"
    }
    let places = line.points.map { "\(number(across($0.x))),\(number(down($0.y)))" }
    return """
      <polyline points="\(places.joined(separator: " "))" fill="none" stroke="\(color)" \
      stroke-width="1.5"\(dashes)>\(title)</polyline>

      """
  }

  // MARK: Numbers and texts

  /// With at most two digits after the point.
  private func number(_ value: Double) -> String {
    let rounded = (value * 100).rounded() / 100
    return rounded == rounded.rounded() ? String(Int(rounded)) : String(rounded)
  }

  /// A tick's number as short as it is exact to six digits.
  private func label(_ value: Double) -> String {
    if value != 0, abs(value) < 1e-3 || abs(value) >= 1e7 { return String(format: "%.3g", value) }
    return number6(value)
  }

  private func number6(_ value: Double) -> String {
    let rounded = (value * 1e6).rounded() / 1e6
    return rounded == rounded.rounded() ? String(Int(rounded)) : String(rounded)
  }

  private static func escaped(_ text: String) -> String {
    text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
  }
}

/// The range of an axis and where its numbers stand.
struct Axis {
  let ticks: [Double]
  private let low: Double
  private let high: Double
  /// What low and high are counted in: more than 1 where the distance of two values may be no number.
  private let unit: Double
  private let isLogarithmic: Bool

  init(_ values: [Double], isLogarithmic: Bool, whole: Bool) {
    self.isLogarithmic = isLogarithmic
    let (least, most) = (values.min() ?? 0, values.max() ?? 1)
    unit = !isLogarithmic && Swift.max(abs(least), abs(most)) > 1e300 ? 1e10 : 1
    if isLogarithmic {
      low = log10(least)
      high = Swift.max(log10(most), low + 0.1)
      let decades = Int(low.rounded(.down))...Int(high.rounded(.up))
      let steps = high - low > 2 ? [1.0] : [1, 2, 5]
      let (low, high) = (low, high)
      ticks = decades.flatMap { decade in steps.map { $0 * pow(10, Double(decade)) } }
        .filter { (low - 1e-9...high + 1e-9).contains(log10($0)) }
    } else {
      let unit = unit
      let (least, most) = (least / unit, most / unit)
      let span = most > least ? most - least : Swift.max(abs(least), 1) * 0.1
      low = whole ? least : least - 0.04 * span
      high = (most > least ? most : least + span) + (whole ? 0 : 0.04 * span)
      let step = Self.step((high - low) / 6, whole: whole)
      let (low, high) = (low, high)
      // Counted from 0: where values are large and close, a step more may be the same number.
      let first = (low / step).rounded(.up)
      let count = (high / step).rounded(.down) - first + 1
      ticks = (0..<Int(Swift.min(Swift.max(count, 0), 100)))
        .map { (first + Double($0)) * step * unit }.filter(\.isFinite)
    }
  }

  /// From 0 at the low end to 1 at the high end.
  func place(_ value: Double) -> Double {
    ((isLogarithmic ? log10(value) : value / unit) - low) / (high - low)
  }

  /// 1, 2 or 5 times a power of ten, not below `least`.
  private static func step(_ least: Double, whole: Bool) -> Double {
    let power = pow(10, floor(log10(Swift.max(least, 1e-300))))
    let step = [1, 2, 5, 10].map { $0 * power }.first { $0 >= least * 0.999 } ?? least
    return whole ? Swift.max(step, 1) : step
  }
}
