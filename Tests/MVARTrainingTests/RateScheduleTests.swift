import Testing

@testable import MVARTraining

/// Values of the reference's `lr_wd_annealing` for 1,000 steps with 40 of warm-up, a peak of 3e-4,
/// wp0 0.005 and wpe 0.01, and of the progress of `train.py`, run in Python.
@Suite struct RateScheduleTests {
  private static let steps = [0, 17, 40, 85, 300, 700, 999]
  private static let rates: [(String, [Double])] = [
    (
      "cos",
      [1.5e-06, 0.0001283625, 0.0003, 0.000298389364, 0.000249313758, 6.871994536e-05, 3e-06]
    ),
    ("lin", [1.5e-06, 0.0001283625, 0.0003, 0.0003, 0.0002576807336, 0.0001119406858, 3e-06]),
    ("lin0", [1.5e-06, 0.0001283625, 0.0003, 0.0003, 0.0002308722353, 0.0001004732452, 3e-06]),
    (
      "lin00",
      [1.5e-06, 0.0001283625, 0.0003, 0.0002860636079, 0.0002194786236, 9.55995829e-05, 3e-06]
    ),
    (
      "lin0.3",
      [1.5e-06, 0.0001283625, 0.0003, 0.000293031804, 0.0002597393118, 0.0001154423507, 3e-06]
    ),
    ("exp", [1.5e-06, 0.0001283625, 0.0003, 0.0003, 0.0001556478155, 1.624533106e-05, 3e-06]),
  ]

  private func plan(_ schedule: RateSchedule) -> StepPlan {
    StepPlan(
      schedule: schedule, peak: 3e-4, warmUpStart: 0.005, warmUpSteps: 40, end: 0.01, decay: 0.05,
      finalDecay: 0.2, steps: 1000)
  }

  @Test(arguments: rates) func ratesAreTheReferences(name: String, expected: [Double]) throws {
    let schedule = try RateSchedule(parsing: name)
    #expect(schedule.description == name)
    let plan = plan(schedule)
    for (step, rate) in zip(Self.steps, expected) {
      #expect(abs(plan.rate(step) - rate) < 1e-9 * 3e-4 + 1e-13, "\(name) at \(step)")
    }
  }

  @Test func weightDecayIsTheReferences() {
    let expected = [
      0.05, 0.05010715056, 0.05059258041, 0.05266348625, 0.08097336897, 0.1692173547, 0.2,
    ]
    for (step, decay) in zip(Self.steps, expected) {
      #expect(abs(plan(.lin0).weightDecay(step) - decay) < 1e-10)
    }
  }

  @Test(arguments: ["linear", "lin2", "lin-1", "", "COS"]) func refuses(_ name: String) {
    let error = #expect(throws: TrainingError.self) { try RateSchedule(parsing: name) }
    #expect(error?.description.contains("schedule is \(name);") == true)
  }

  @Test(arguments: [1, 2, 3]) func shortRunsHaveRates(steps: Int) {
    let plan = StepPlan(
      schedule: .lin0, peak: 1, warmUpStart: 0.5, warmUpSteps: steps / 2, end: 0.01, decay: 0.05,
      finalDecay: 0.05, steps: steps)
    for step in 0..<steps { #expect(plan.rate(step) > 0 && plan.rate(step) <= 1) }
  }

  @Test func scalesComeAsInTheReference() {
    let plan = ProgressivePlan(
      scales: 10, first: 4, warmUpSteps: 40, endStep: 600, easingSteps: 7)
    let stages = stride(from: 0, to: 1000, by: 50).map(plan.stage)
    #expect(stages == [4, 4, 5, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 9, 9, 9, 9, 9, 9, 9])
    let eased = (0..<1000).filter { plan.newestWeight($0) != 1 }
    #expect(eased == [97, 208, 321, 432].flatMap { Array($0..<$0 + 6) })
    #expect(abs(plan.newestWeight(98) - 2.0 / 7) < 1e-12)
  }
}
