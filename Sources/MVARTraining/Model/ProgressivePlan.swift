/// Which scales a step trains (`train.py`, `trainer.py`): the coarsest ones first, one more at a time.
///
/// A function of the step alone, so that a resumed run knows nothing else.
struct ProgressivePlan {
  /// K
  let scales: Int
  /// The last scale of the first stage, from 0.
  let first: Int
  let warmUpSteps: Int
  /// The step from which on all scales are trained.
  let endStep: Int
  /// Steps over which a new scale's loss comes in.
  let easingSteps: Int

  /// The last scale that a step trains, from 0.
  func stage(_ step: Int) -> Int {
    if step <= warmUpSteps { return first }
    if step >= endStep { return scales - 1 }
    let passed = Double(step - warmUpSteps) / Double(endStep - warmUpSteps)
    return first + Int((passed * Double(scales - 1 - first)).rounded(.toNearestOrEven))
  }

  /// The weight of the newest scale's loss; that of the others is 1.
  func newestWeight(_ step: Int) -> Double {
    let stage = stage(step)
    guard stage > first, stage < scales - 1 else { return 1 }
    let since = step - firstStep(of: stage) + 1
    return max(min(Double(since) / Double(max(easingSteps, 1)), 1), 0.01)
  }

  /// Stages never go back, so that bisection finds where one begins.
  private func firstStep(of wanted: Int) -> Int {
    var (before, from) = (warmUpSteps, endStep)
    while from - before > 1 {
      let middle = (before + from) / 2
      if stage(middle) >= wanted { from = middle } else { before = middle }
    }
    return from
  }
}
