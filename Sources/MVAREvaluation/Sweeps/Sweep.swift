import MVAR

/// One setting of sampling at several values, such as `guidance=1.0:3.0:0.25`.
public struct Sweep: Sendable, Equatable {
  public enum Setting: String, Sendable, CaseIterable {
    case guidance
    case topK = "top-k"
    case topP = "top-p"
  }

  public let setting: Setting
  public let values: [Double]

  private static let limit = 1000

  /// Reads "setting=first:last:step", or "setting=a,b,c".
  ///
  /// - Throws: ``EvaluationError`` for text that means no values, and for values that the setting cannot
  ///   have.
  public init(parsing text: String) throws(EvaluationError) {
    let sides = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    guard sides.count == 2, let setting = Setting(rawValue: String(sides[0])) else {
      throw Self.malformed(text)
    }
    let values: [Double]
    if sides[1].contains(":") {
      let numbers = sides[1].split(separator: ":", omittingEmptySubsequences: false)
        .compactMap { Double($0) }
      guard numbers.count == 3, numbers.allSatisfy(\.isFinite), numbers[2] > 0,
        numbers[1] >= numbers[0], (numbers[1] - numbers[0]) / numbers[2] < Double(Self.limit)
      else { throw Self.malformed(text) }
      // The last counts although the sum of steps misses it by a rounding.
      let steps = Int(((numbers[1] - numbers[0]) / numbers[2] + 1e-9).rounded(.down))
      values = (0...steps).map { step in
        let value = numbers[0] + Double(step) * numbers[2]
        return (value * 1e9).rounded() / 1e9
      }
    } else {
      let parts = sides[1].split(separator: ",", omittingEmptySubsequences: false)
      values = parts.compactMap { Double($0) }
      guard values.count == parts.count, !values.isEmpty, values.count < Self.limit else {
        throw Self.malformed(text)
      }
    }
    self.setting = setting
    self.values = values
    for value in values { try check(value) }
  }

  private func check(_ value: Double) throws(EvaluationError) {
    let isWhole = value == value.rounded() && abs(value) < 1e9
    guard setting != .topK || isWhole else {
      throw EvaluationError(.invalidValue, "sweep", "top-k is \(value)", mend: "use whole numbers")
    }
    do { try applied(to: SamplingSettings(), value).validate() } catch {
      throw EvaluationError(.invalidValue, "sweep", error.description, mend: "leave that value out")
    }
  }

  private static func malformed(_ text: String) -> EvaluationError {
    EvaluationError(
      .invalidValue, "sweep", "is \(text)",
      mend: "write guidance=1.0:3.0:0.25 or top-k=100,300,900 (guidance, top-k or top-p)")
  }

  /// Settings with one of the values.
  public func applied(to settings: SamplingSettings, _ value: Double) -> SamplingSettings {
    var settings = settings
    switch setting {
    case .guidance: settings.guidance = value
    case .topK: settings.topK = Int(value)
    case .topP: settings.topP = value
    }
    return settings
  }

  /// The value as it is written: "1.25", "900".
  public func label(_ value: Double) -> String {
    setting == .topK ? "\(Int(value))" : "\(value)"
  }

  /// One value and what came of it.
  public struct Point: Sendable, Encodable {
    public let value: Double
    public let result: EvaluationResult

    public init(value: Double, result: EvaluationResult) {
      (self.value, self.result) = (value, result)
    }
  }
}
