/// How far the work has come: a bar on a terminal, a line now and then in a log.
struct Progress {
  private let total: Int
  private let style: Style
  private let start = ContinuousClock.now
  private var done = 0

  private enum Style { case none, bar, lines }

  init(total: Int, isQuiet: Bool) {
    self.total = max(total, 1)
    style = isQuiet ? .none : StandardStreams.errorIsTerminal ? .bar : .lines
  }

  /// Shows more steps as done, and which they are.
  mutating func advance(_ label: @autoclosure () -> String, by steps: Int = 1) {
    done = min(done + steps, total)
    if style == .bar { StandardStreams.writeError("\r\(line(label()))\u{1B}[K", terminator: "") }
  }

  /// Ends a part of the work: a line of its own in a log.
  func milestone(_ text: @autoclosure () -> String) {
    if style == .lines { StandardStreams.writeError("mvar: \(text()), \(duration(elapsed))") }
  }

  /// Clears the bar.
  func finish() {
    if style == .bar, done > 0 { StandardStreams.writeError("\r\u{1B}[K", terminator: "") }
  }

  private var elapsed: Double { start.duration(to: .now).inSeconds }

  private func line(_ label: String) -> String {
    let (fraction, width) = (Double(done) / Double(total), 30)
    let filled = Int(fraction * Double(width))
    let bar =
      String(repeating: "█", count: filled) + String(repeating: "░", count: width - filled)
    let rest = max(elapsed / max(fraction, 1e-6) - elapsed, 0)
    return "\(bar) \(Int(fraction * 100)) % · \(label) · \(duration(rest)) left"
  }

  private func duration(_ seconds: Double) -> String {
    let whole = Int(seconds.rounded())
    if whole < 10 { return "\((seconds * 10).rounded() / 10) s" }
    if whole < 60 { return "\(whole) s" }
    return "\(whole / 60):\(whole % 60 < 10 ? "0" : "")\(whole % 60) min"
  }
}

extension Duration {
  var inSeconds: Double {
    Double(components.seconds) + Double(components.attoseconds) * 1e-18
  }
}
