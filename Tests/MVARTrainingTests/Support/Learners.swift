import MVAR
import MVARTraining
import Torch
import TorchTestSupport

/// Small learners on one thread's CPU.
enum Learners {
  /// M-VAR of depth 2 and width 64 for the golden tokenizer's vocabulary, with scales 1, 2, 3.
  static let schedule = try! ScaleSchedule(squares: [1, 2, 3])

  static func settings(
    _ change: (inout ModelTrainingSettings) -> Void = { _ in }
  ) -> ModelTrainingSettings {
    var settings = ModelTrainingSettings()
    (settings.depth, settings.width, settings.batch) = (2, 64, 4)
    settings.warmUpEpochs = 0
    settings.baseRate = 0.05
    settings.initialization.gain = 0.5
    change(&settings)
    return settings
  }

  static func tokenizer(on device: Device = .cpu) throws -> Tokenizer {
    try .load(Checkpoint(Golden.tokenizerFile), device: device, encodes: false)
  }

  static func learner(
    _ settings: ModelTrainingSettings, classes: Int = 3, steps: Int = 100,
    recomputes: Bool = false, precision: DType = .float32, device: Device = .cpu,
    reducer: (any GradientReducer)? = nil
  ) throws -> ModelLearner {
    let shape = try Checkpoint(Golden.tokenizerFile).tokenizerConfiguration()
    let configuration = settings.configuration(
      classes: classes, schedule: schedule, tokenizer: shape)
    return try ModelLearner(
      settings, configuration: configuration,
      initial: Initialization(
        configuration, settings: settings.initialization, seed: settings.seed),
      tokenizer: tokenizer(on: device), precision: precision, device: device, steps: steps,
      stepsPerEpoch: 10, recomputes: recomputes, reducer: reducer)
  }

  /// Random tokens of the golden vocabulary.
  static func batch(_ count: Int, classes: Int = 3, seed: UInt64 = 1) -> TokenBatch {
    let stream = PhiloxStream(seed: seed)
    let scales = schedule.sizes.enumerated().map { index, size in
      stream.uniforms(count * size.count, domain: UInt64(index)).map { Int64($0 * 512) }
    }
    return TokenBatch(
      tokens: PictureTokens(schedule: schedule, count: count, scales: scales),
      labels: (0..<count).map { $0 % classes })
  }
}

/// The largest difference between two lists of tensors, in parts of the largest element.
func relativeDistance(_ a: [Tensor], _ b: [Tensor]) throws -> Double {
  try zip(a, b).map { a, b in
    let largest = try b.absolute().reshape(-1).max(0).item()
    return try distance(a, b) / Swift.max(largest, 1e-12)
  }.max() ?? 0
}
