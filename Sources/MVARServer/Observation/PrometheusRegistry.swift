import CoreMetrics
import Synchronization

/// Keeps metrics in memory and writes them in the text format that Prometheus reads
/// (version 0.0.4 of its exposition format).
///
/// Counters, meters and recorders without aggregation are written as counters and gauges; timers, in
/// seconds, and aggregating recorders as histograms.
public final class PrometheusRegistry: MetricsFactory {
  /// What one name's series have in common.
  public struct Family: Sendable {
    public var help: String
    /// Upper bounds of a histogram's buckets, ascending.
    public var buckets: [Double]

    public init(help: String, buckets: [Double] = PrometheusRegistry.defaultBuckets) {
      self.help = help
      self.buckets = buckets
    }
  }

  /// From 5 ms to 10 minutes.
  public static let defaultBuckets = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600,
  ]

  private let families: [String: Family]
  private let series = Mutex<[String: [SeriesKey: Series]]>([:])

  public init(_ families: [String: Family] = [:]) { self.families = families }

  /// All metrics, in the order of their names.
  public func exposition() -> String {
    let all = series.withLock { $0 }
    return all.keys.sorted().map { text(of: $0, all[$0]!) }.joined()
  }

  private func text(of name: String, _ series: [SeriesKey: Series]) -> String {
    guard let kind = series.values.first?.kind else { return "" }
    var text = ""
    if let help = families[name]?.help {
      text += "# HELP \(name) \(escaped(help, quotes: false))\n"
    }
    text += "# TYPE \(name) \(kind.rawValue)\n"
    for key in series.keys.sorted(by: { $0.text < $1.text }) {
      text += series[key]!.lines(name, labels: key.text)
    }
    return text
  }

  private func make(_ label: String, _ dimensions: [(String, String)], _ kind: Series.Kind)
    -> Series
  {
    let (name, key) = (metricName(label), SeriesKey(dimensions))
    let buckets = families[name]?.buckets ?? Self.defaultBuckets
    return series.withLock { all in
      if let old = all[name]?[key], old.kind == kind { return old }
      precondition(
        all[name]?.values.first.map { $0.kind == kind } ?? true,
        "\(name) is one kind of metric already, and cannot be a \(kind.rawValue) too")
      let new = Series(kind, buckets: kind == .histogram ? buckets : [])
      all[name, default: [:]][key] = new
      return new
    }
  }

  private func remove(_ handler: AnyObject) {
    guard let gone = handler as? Series else { return }
    series.withLock { all in
      for name in all.keys { all[name] = all[name]!.filter { $0.value !== gone } }
      all = all.filter { !$0.value.isEmpty }
    }
  }
}

extension PrometheusRegistry {
  public func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
    make(label, dimensions, .counter)
  }

  public func makeFloatingPointCounter(label: String, dimensions: [(String, String)])
    -> any FloatingPointCounterHandler
  {
    make(label, dimensions, .counter)
  }

  public func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
    make(label, dimensions, .gauge)
  }

  public func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool)
    -> any RecorderHandler
  {
    make(label, dimensions, aggregate ? .histogram : .gauge)
  }

  public func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
    make(label, dimensions, .histogram)
  }

  public func destroyCounter(_ handler: any CounterHandler) { remove(handler) }
  public func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {
    remove(handler)
  }
  public func destroyMeter(_ handler: any MeterHandler) { remove(handler) }
  public func destroyRecorder(_ handler: any RecorderHandler) { remove(handler) }
  public func destroyTimer(_ handler: any TimerHandler) { remove(handler) }
}

/// The labels of one series, as they are written.
struct SeriesKey: Hashable {
  /// `a="1",b="2"`, or nothing.
  let text: String

  init(_ dimensions: [(String, String)]) {
    text = dimensions.map { "\(metricName($0.0))=\"\(escaped($0.1, quotes: true))\"" }
      .joined(separator: ",")
  }
}

/// The numbers of one series.
final class Series: Sendable {
  enum Kind: String { case counter, gauge, histogram }

  let kind: Kind
  private let buckets: [Double]
  private let numbers: Mutex<Numbers>

  private struct Numbers {
    /// The counter, the gauge, or the sum of all that was observed.
    var value = 0.0
    var count = 0
    /// How many fell into each bucket alone.
    var counts: [Int]
  }

  init(_ kind: Kind, buckets: [Double]) {
    self.kind = kind
    self.buckets = buckets
    numbers = Mutex(Numbers(counts: Array(repeating: 0, count: buckets.count)))
  }

  private func add(_ amount: Double) { numbers.withLock { $0.value += amount } }
  private func put(_ value: Double) { numbers.withLock { $0.value = value } }

  private func observe(_ value: Double) {
    let bucket = buckets.firstIndex { value <= $0 }
    numbers.withLock {
      $0.value += value
      $0.count += 1
      if let bucket { $0.counts[bucket] += 1 }
    }
  }

  func lines(_ name: String, labels: String) -> String {
    let numbers = numbers.withLock { $0 }
    func line(_ suffix: String, _ labels: String, _ value: String) -> String {
      "\(name)\(suffix)\(labels.isEmpty ? "" : "{\(labels)}") \(value)\n"
    }
    guard kind == .histogram else { return line("", labels, written(numbers.value)) }
    var (text, below) = ("", 0)
    func bucket(_ bound: String, _ count: Int) -> String {
      line("_bucket", labels + (labels.isEmpty ? "" : ",") + "le=\"\(bound)\"", "\(count)")
    }
    for (bound, count) in zip(buckets, numbers.counts) {
      below += count
      text += bucket(written(bound), below)
    }
    text += bucket("+Inf", numbers.count)
    return text + line("_sum", labels, written(numbers.value))
      + line("_count", labels, "\(numbers.count)")
  }
}

extension Series: CounterHandler {
  func increment(by amount: Int64) { add(Double(amount)) }
}

extension Series: FloatingPointCounterHandler, MeterHandler {
  func increment(by amount: Double) { add(amount) }
  func decrement(by amount: Double) { add(-amount) }
  func set(_ value: Int64) { put(Double(value)) }
  func set(_ value: Double) { put(value) }
  func reset() { put(0) }
}

extension Series: RecorderHandler {
  func record(_ value: Int64) { record(Double(value)) }
  func record(_ value: Double) { kind == .histogram ? observe(value) : put(value) }
}

extension Series: TimerHandler {
  func recordNanoseconds(_ duration: Int64) { observe(Double(duration) * 1e-9) }
}

/// Letters, digits, underscores and colons, and no digit first.
private func metricName(_ label: String) -> String {
  let name = String(
    label.unicodeScalars.map { scalar -> Character in
      let isAllowed =
        scalar.isASCII && (scalar.properties.isAlphabetic || ("0"..."9").contains(scalar))
      return isAllowed || scalar == "_" || scalar == ":" ? Character(scalar) : "_"
    })
  return name.first?.isNumber ?? true ? "_" + name : name
}

private func escaped(_ text: String, quotes: Bool) -> String {
  var result = ""
  for character in text {
    switch character {
    case "\\": result += "\\\\"
    case "\n": result += "\\n"
    case "\"" where quotes: result += "\\\""
    default: result.append(character)
    }
  }
  return result
}

/// Whole numbers without a decimal point.
private func written(_ value: Double) -> String {
  if value.isNaN { return "NaN" }
  if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
  return value == value.rounded() && abs(value) < 1e15 ? "\(Int(value))" : "\(value)"
}
