import Foundation

/// How the learning rate falls after its warm-up (`lr_wd_annealing`, `utils/lr_control.py`).
public enum RateSchedule: Sendable, Hashable, CustomStringConvertible {
  /// Half a cosine.
  case cosine
  /// Level for a share of the run, then straight down. The reference's `lin` has 0.15, its `lin0`
  /// 0.05, its `lin00` none.
  case linear(level: Double, name: String)
  /// Straight down in two pieces that meet after a share of the run: `lin0.3`.
  case bent(at: Double)
  /// Level for 0.15 of the run, then exponentially down.
  case exponential

  /// The reference's default.
  public static let lin0 = linear(level: 0.05, name: "lin0")

  /// Reads the reference's names: cos, lin, lin0, lin00, lin with a share such as lin0.3, exp.
  public init(parsing text: String) throws(TrainingError) {
    switch text {
    case "cos": self = .cosine
    case "exp": self = .exponential
    case "lin": self = .linear(level: 0.15, name: text)
    case "lin0": self = .linear(level: 0.05, name: text)
    case "lin00": self = .linear(level: 0, name: text)
    default:
      guard text.hasPrefix("lin"), let share = Double(text.dropFirst(3)), share > 0, share <= 1
      else {
        throw TrainingError(
          .setting,
          "schedule is \(text); use cos, lin, lin0, lin00, exp, or lin and a share such as lin0.3")
      }
      self = .bent(at: share)
    }
  }

  public var description: String {
    switch self {
    case .cosine: "cos"
    case .exponential: "exp"
    case .linear(_, let name): name
    case .bent(let share): "lin\(share)"
    }
  }

  /// The share of the peak rate.
  ///
  /// - Parameters:
  ///   - passed: The share of the run after the warm-up that is over, from 0 to 1.
  ///   - end: The share of the peak rate at the end.
  func factor(passed: Double, end: Double) -> Double {
    let rest = 1 - passed
    switch self {
    case .cosine:
      return end + (1 - end) * (0.5 + 0.5 * cos(.pi * passed))
    case .linear(let level, _):
      return passed < level || level == 0 && passed == 0
        ? 1 : end + (1 - end) * rest / (1 - level)
    case .bent(let share):
      let middle = (1 + end + (1 - end) * (1 - share)) / 2
      return passed < share || share >= 1
        ? 1 + (middle - 1) * passed / share : end + (middle - end) * rest / (1 - share)
    case .exponential:
      return passed < 0.15 ? 1 : exp((passed - 0.15) / 0.85 * log(end))
    }
  }
}

extension RateSchedule: Codable {
  public init(from decoder: any Decoder) throws {
    try self.init(parsing: decoder.singleValueContainer().decode(String.self))
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}

/// Rate and weight decay of every step of a run.
struct StepPlan {
  let schedule: RateSchedule
  let peak: Double
  /// The share of the peak rate that the warm-up begins with.
  let warmUpStart: Double
  let warmUpSteps: Int
  /// The share of the peak rate at the end.
  let end: Double
  let decay: Double
  let finalDecay: Double
  let steps: Int

  func rate(_ step: Int) -> Double {
    if step < warmUpSteps {
      return peak * (warmUpStart + (1 - warmUpStart) * Double(step) / Double(warmUpSteps))
    }
    let passed = Double(step - warmUpSteps) / Double(max(steps - 1 - warmUpSteps, 1))
    return peak * schedule.factor(passed: min(passed, 1), end: end)
  }

  /// Half a cosine from the first weight decay to the last.
  func weightDecay(_ step: Int) -> Double {
    let passed = min(Double(step) / Double(max(steps - 1, 1)), 1)
    return finalDecay + (decay - finalDecay) * (0.5 + 0.5 * cos(.pi * passed))
  }
}
