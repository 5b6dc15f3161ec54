import MVAR
import Testing

/// Settings outside what they can be are named with their value.
@Suite struct SamplingSettingsTests {
  @Test(arguments: [-0.1, -.infinity, .infinity, .nan]) func guidance(_ value: Double) {
    expectFailure(.invalidValue, "guidance is \(value)") {
      try SamplingSettings(guidance: value).validate()
    }
  }

  @Test(arguments: [0, -0.5, 1.0001, .infinity, .nan]) func topP(_ value: Double) {
    expectFailure(.invalidValue, "top-p is \(value)", "above 0 and at most 1") {
      try SamplingSettings(topP: value).validate()
    }
  }

  @Test func topK() {
    expectFailure(.invalidValue, "top-k is -1") { try SamplingSettings(topK: -1).validate() }
  }

  @Test func limitsThemselvesAreFine() throws {
    try SamplingSettings(guidance: 0, topK: 0, topP: 1).validate()
    try SamplingSettings(guidance: 100, topK: .max, topP: .leastNonzeroMagnitude).validate()
  }
}
