import Foundation
import MVAR
import Torch

// B pictures, L tokens of a picture, l those of the scales that are trained, K scales, V vocabulary.

/// A model that learns: its weights, their average, the optimiser, and one step of training.
public final class ModelLearner {
  public let settings: ModelTrainingSettings
  public let configuration: TransformerConfiguration
  public let weights: MasterWeights
  /// The average of the weights over the steps, in the order of ``averaged``; nil for none.
  public let average: [Tensor]?
  /// The weights whose average this process has, in their order: all, unless processes share it.
  let averaged: [String]
  public let optimizer: AdamW
  /// All weights by name, as the optimiser has them: first those that decay.
  let optimized: [String]
  private let parameters: [Tensor]
  let share: WeightShare
  /// Steps made.
  public internal(set) var stepCount = 0

  let tokenizer: Tokenizer
  private let precision: DType
  let device: Device
  private let recomputes: Bool
  private let fused: Bool
  private let plan: StepPlan
  private let progressive: ProgressivePlan?
  private let health: Health
  let reducer: (any GradientReducer)?

  /// Which numbers a step measures.
  struct Measures {
    /// Mean loss and share of right guesses of each trained scale, in percent; `[2, K']`.
    let perScale: Tensor
    /// The length of the gradient before clipping.
    let gradientNorm: Tensor
    /// The share of the vocabulary that the guesses of a micro-batch use, in percent; `[K']`.
    let usage: Tensor
    let scales: Int
  }

  /// - Parameters:
  ///   - initial: Where the weights begin.
  ///   - tokenizer: Its codebook and φ make the model's input; not trained.
  ///   - precision: What the model computes in; its weights stay in float32.
  ///   - steps: Of the run, and `stepsPerEpoch` of one pass over the data.
  ///   - recomputes: Whether blocks are computed again in the backward pass, to save memory.
  ///   - fused: Whether a GPU may use fused kernels.
  ///   - reducer: The other processes that share the steps.
  ///   - sharesOptimizer: Whether each process keeps the optimiser's state of its part of the weights.
  public init(
    _ settings: ModelTrainingSettings, configuration: TransformerConfiguration,
    initial: any ParameterSource, tokenizer: Tokenizer, precision: DType, device: Device,
    steps: Int, stepsPerEpoch: Int, recomputes: Bool = false, fused: Bool = true,
    reducer: (any GradientReducer)? = nil, sharesOptimizer: Bool = true
  ) throws {
    self.settings = settings
    self.configuration = configuration
    self.tokenizer = tokenizer
    (self.precision, self.device) = (precision, device)
    (self.recomputes, self.fused) = (recomputes, fused)
    self.reducer = reducer
    let weights = try MasterWeights(initial, configuration: configuration, device: device)
    self.weights = weights
    let share = WeightShare(
      weights.named.map { ($0.name, $0.tensor.count) }, rank: reducer?.rank ?? 0,
      ranks: sharesOptimizer ? reducer?.ranks ?? 1 : 1)
    self.share = share
    let own = weights.named.filter { share.isOwn($0.name) }
    averaged = own.map(\.name)
    average =
      settings.averaging > 0
      ? withoutGradient { own.map { $0.tensor.detached().clone() } } : nil
    let decayed = weights.named.filter { Self.decays($0.name, rank: $0.tensor.rank) }
    let others = weights.named.filter { !Self.decays($0.name, rank: $0.tensor.rank) }
    optimized = (decayed + others).map(\.name)
    parameters = (decayed + others).map(\.tensor)
    optimizer = AdamW(
      [
        .init(decayed.filter { share.isOwn($0.name) }.map(\.tensor)),
        .init(others.filter { share.isOwn($0.name) }.map(\.tensor), decayScale: 0),
      ], betas: (settings.beta1, settings.beta2))
    try reducer?.watch(Self.backwardOrder(weights.named))
    plan = StepPlan(settings, steps: steps, stepsPerEpoch: stepsPerEpoch)
    progressive = ProgressivePlan(
      settings, scales: configuration.schedule.count, plan: plan, stepsPerEpoch: stepsPerEpoch)
    health = Health(schedule: configuration.schedule, names: optimized, device: device)
  }

  /// Whether weight decay applies to a parameter (`filter_params`, `utils/lr_control.py`): not to
  /// vectors, nor to what stands for a place, a start or a gain.
  static func decays(_ name: String, rank: Int) -> Bool {
    let exempt = ["pos_1LC", "pos_start", "lvl_embed", "ada_gss", "scale_mul"]
    return rank > 1 && !name.hasSuffix("bias") && !exempt.contains { name.contains($0) }
  }

  /// The model as its weights are now, for training.
  func model() throws -> Transformer {
    try Transformer(scope(weights), configuration: configuration)
  }

  private func scope(_ source: any ParameterSource) -> Parameters {
    Parameters(source, dtype: precision, device: device, purpose: .training)
  }

  // MARK: A step

  /// Learns from one batch.
  ///
  /// - Parameters:
  ///   - batch: All pictures of the step; a process among several takes its part.
  ///   - measures: Whether to compute what a log keeps.
  /// - Throws: `TorchError` where memory is short, for example.
  func step(_ batch: TokenBatch, measures: Bool) throws -> Measures? {
    try withTorchErrors {
      let scales = progressive.map { $0.stage(stepCount) + 1 } ?? configuration.schedule.count
      let ranges = partsOfStep(batch)
      let parts = try ranges.map {
        if $0 == ranges.last { try reducer?.beginSum() }
        return try learn(batch, $0, scales: scales, measures: measures)
      }
      completeGradients()
      try reducer?.endSum()
      var tokenLosses = parts.dropFirst().reduce(parts[0].tokenLosses) { $0 + $1.tokenLosses }
      var right = parts.dropFirst().reduce(parts[0].right) { sum, part in
        part.right.map { sum! + $0 }
      }
      if let reducer {
        tokenLosses = try reducer.sum(tokenLosses)
        right = try right.map { try reducer.sum($0) }
      }
      let norm = try finish(tokenLosses)
      return right.map {
        Measures(
          perScale: perScale(tokenLosses, $0, pictures: batch.labels.count, scales: scales),
          gradientNorm: norm, usage: parts[0].usage!, scales: scales)
      }
    }
  }

  /// Where the micro-batches of this process lie in the batch.
  private func partsOfStep(_ batch: TokenBatch) -> [Range<Int>] {
    let (rank, ranks) = (reducer?.rank ?? 0, reducer?.ranks ?? 1)
    let size = batch.labels.count / (ranks * settings.accumulation)
    return (0..<settings.accumulation).map { part in
      let start = (rank * settings.accumulation + part) * size
      return start..<start + size
    }
  }

  /// Adds the gradient of some pictures.
  ///
  /// - Returns: The loss and the right guesses at each place, added up over the pictures: `[l]` each.
  private func learn(
    _ batch: TokenBatch, _ pictures: Range<Int>, scales: Int, measures: Bool
  ) throws -> (tokenLosses: Tensor, right: Tensor?, usage: Tensor?) {
    let part = batch[pictures]
    let whole = batch.labels.count
    let random = StepRandomness(seed: settings.seed, step: stepCount, batch: whole)
    let labels = random.dropping(
      part.labels, at: pictures, share: settings.labelDropout,
      unconditional: configuration.classes)
    let factors = random.depthFactors(
      at: pictures, rate: settings.lastDropRate, depth: configuration.depth,
      sublayers: configuration.sublayers, device: device)
    let (input, targets) = try known(part)
    let model = try model()
    var condition = model.condition(Tensor.of(labels).uploaded(to: device))
    if let factors { condition = condition.scalingSublayers(by: factors) }
    let logits = model.rawLogits(
      input, condition: condition, scales: scales,
      recomputing: recomputes ? scope(weights) : nil, fused: fused)
    let losses = tokenLosses(logits, targets, smoothing: settings.labelSmoothing)  // [B, l]
    ((losses * lossWeights(scales: scales)).sum(0, 1) * (1 / Double(whole))).backward()
    return withoutGradient {
      guard measures else { return (losses.detached().sum(0), nil, nil) }
      let guesses = logits.detached().argmax(2)
      return (
        losses.detached().sum(0), right(guesses, targets).sum(0), usage(guesses, scales: scales)
      )
    }
  }

  /// What the model reads and what it is to say.
  private func known(_ batch: TokenBatch) throws -> (input: Tensor, targets: Tensor) {
    try withoutGradient {
      let pyramid = try batch.tokens.pyramid(device: device)
      let read = try batch.read?.pyramid(device: device) ?? pyramid
      return (tokenizer.teacherInput(read), pyramid.flattened)
    }
  }

  private func tokenLosses(_ logits: Tensor, _ targets: Tensor, smoothing: Double) -> Tensor {
    let (B, l, V) = logits.shape3
    let known = targets.slice(1, 0..<l).reshape(B * l)
    return TokenLosses.of(logits.reshape(B * l, V), known, smoothing: smoothing).reshape(B, l)
  }

  /// Where guesses `[B, l]` are right, as numbers.
  private func right(_ guesses: Tensor, _ targets: Tensor) -> Tensor {
    (guesses .== targets.slice(1, 0..<guesses.length(1))).to(.float32)
  }

  /// The share of the vocabulary that guesses `[B, l]` use at each scale, in percent.
  private func usage(_ guesses: Tensor, scales: Int) -> Tensor {
    let V = configuration.vocabulary
    let shares = configuration.schedule.ranges.prefix(scales).map { range in
      let used = guesses.slice(1, range).reshape(-1)
      let ones = Tensor.ones([used.length(0)], device: device)
      return Tensor.zeros([V], device: device).scattered(0, used, ones).mean(0) * 100
    }
    return .stack(shares, axis: 0)
  }

  /// The weight of each place's loss, `[l]`: 1/L, less where a scale is new.
  private func lossWeights(scales: Int) -> Tensor {
    let schedule = configuration.schedule
    let newest = progressive?.newestWeight(stepCount) ?? 1
    let weights = schedule.sizes.prefix(scales).enumerated().flatMap { index, size in
      let weight = (index == scales - 1 ? newest : 1) / Double(schedule.tokenCount)
      return [Float](repeating: Float(weight), count: size.count)
    }
    return Tensor.of(weights).uploaded(to: device)
  }

  /// Zero for parameters that a step did not use, as the reference's has it: training only the first
  /// scale does without the word embedding.
  private func completeGradients() {
    for parameter in parameters where parameter.gradient == nil {
      parameter.gradient = .zeros(parameter.shape, device: device)
    }
  }

  /// Clips, steps and averages.
  private func finish(_ tokenLosses: Tensor) throws -> Tensor {
    try withoutGradient {
      let norms = parameters.compactMap(\.gradient).norms()
      let norm = norms.power(2).sum(0).power(0.5)
      if settings.clip > 0 {
        optimizer.gradients.multiplyInPlace(
          ((norm + 1e-6).power(-1) * settings.clip).clamped(-.infinity, 1))
      }
      health.observe(step: stepCount, tokenLosses: tokenLosses, norms: norms)
      optimizer.step(
        rate: plan.rate(stepCount), weightDecay: plan.weightDecay(stepCount), skip: health.skip)
      for parameter in parameters { parameter.gradient = nil }
      if share.isShared {
        try reducer?.share(parameters, owners: optimized.map(share.owner))
      }
      stepCount += 1
      average?.moveInPlace(towards: ownWeights, by: 1 - averagingNow)
      return norm
    }
  }

  /// Those whose average this process has.
  private var ownWeights: [Tensor] {
    weights.named.filter { share.isOwn($0.name) }.map(\.tensor)
  }

  /// Early steps are kept for a shorter time: the first weights are worth nothing.
  private var averagingNow: Double {
    min(settings.averaging, Double(1 + stepCount) / Double(10 + stepCount))
  }

  private func perScale(_ losses: Tensor, _ right: Tensor, pictures: Int, scales: Int) -> Tensor {
    let rows = configuration.schedule.ranges.prefix(scales).map { range in
      Tensor.stack([losses[range].mean(0), right[range].mean(0) * 100], axis: 0)
    }
    return Tensor.stack(rows, axis: 1) * (1 / Double(pictures))
  }

  // MARK: Between steps

  /// - Throws: ``TrainingError`` if a loss or gradient was no number in any step so far.
  func checkHealth() throws { try health.check() }

  /// The learning rate and the weight decay of the next step.
  var rates: (rate: Double, weightDecay: Double) {
    (plan.rate(stepCount), plan.weightDecay(stepCount))
  }

  /// Mean loss and share of right guesses of each scale over batches that were not learnt from, with
  /// their classes and all sublayers.
  ///
  /// - Parameter average: Average weights to use in place of the last ones, all in their order.
  public func evaluate(_ batches: [TokenBatch], average: [Tensor]? = nil) throws -> ScaleMeasures {
    try withTorchErrors {
      try withoutGradient {
        let model = try model(average)
        var sums: Tensor?
        for batch in batches {
          let (input, targets) = try known(batch)
          let logits = model.rawLogits(
            input, condition: model.condition(Tensor.of(batch.labels).uploaded(to: device)),
            fused: fused)
          let losses = tokenLosses(logits, targets, smoothing: 0).sum(0)
          let rows = Tensor.stack([losses, right(logits.argmax(2), targets).sum(0)], axis: 0)
          sums = sums.map { $0 + rows } ?? rows
        }
        let sum = sums ?? .zeros([2, configuration.schedule.tokenCount], device: device)
        let pictures = batches.reduce(0) { $0 + $1.labels.count }
        return try ScaleMeasures(
          perScale(
            sum[0], sum[1], pictures: max(pictures, 1), scales: configuration.schedule.count),
          configuration.schedule)
      }
    }
  }

  /// The model with average weights; with the last ones where there is no average.
  func model(_ average: [Tensor]?) throws -> Transformer {
    guard let average else { return try model() }
    let source = NamedTensors(Dictionary(uniqueKeysWithValues: zip(weights.order, average)))
    return try Transformer(scope(source), configuration: configuration)
  }
}

/// Mean loss and share of right guesses, scale by scale and over all tokens.
public struct ScaleMeasures: Sendable, Equatable {
  /// Nats a token.
  public let losses: [Double]
  /// Percent.
  public let accuracies: [Double]
  public let loss: Double
  public let accuracy: Double

  /// - Parameter perScale: `[2, K']`
  init(_ perScale: Tensor, _ schedule: ScaleSchedule) throws {
    let numbers = try perScale.elements(as: Double.self)
    let count = numbers.count / 2
    (losses, accuracies) = (Array(numbers[..<count]), Array(numbers[count...]))
    let sizes = schedule.sizes.prefix(count).map { Double($0.count) }
    let all = sizes.reduce(0, +)
    loss = zip(losses, sizes).reduce(0) { $0 + $1.0 * $1.1 } / all
    accuracy = zip(accuracies, sizes).reduce(0) { $0 + $1.0 * $1.1 } / all
  }

  /// As a log takes them: `group/loss`, `group/loss/scale1` ….
  func scalars(_ group: String) -> [String: Double] {
    var scalars = ["\(group)/loss": loss, "\(group)/accuracy": accuracy]
    for (index, (loss, accuracy)) in zip(losses, accuracies).enumerated() {
      scalars["\(group)/loss/scale\(index + 1)"] = loss
      scalars["\(group)/accuracy/scale\(index + 1)"] = accuracy
    }
    return scalars
  }
}

/// Adds up over the processes that share a step.
public protocol GradientReducer: AnyObject {
  var rank: Int { get }
  var ranks: Int { get }
  /// Takes note of the leaves whose gradients are summed, in about the order of the backward pass.
  func watch(_ leaves: [Tensor]) throws
  /// Says that the backward pass that comes is the step's last: it sends what it completes.
  func beginSum() throws
  /// Waits until each gradient is the sum over the processes.
  func endSum() throws
  func sum(_ x: Tensor) throws -> Tensor
  /// Replaces each tensor by that of the process that owns it.
  func share(_ tensors: [Tensor], owners: [Int]) throws
}

/// Tensors in memory as a source of parameters.
final class NamedTensors: ParameterSource {
  private let byName: [String: Tensor]

  init(_ byName: [String: Tensor]) { self.byName = byName }

  var names: [String]? { Array(byName.keys) }

  func shape(of name: String, expected: [Int]) -> [Int]? { byName[name]?.shape }

  func tensor(_ name: String, shape: [Int], dtype: DType, device: Device) throws -> Tensor {
    byName[name]!.to(dtype, device: device)
  }
}

extension StepPlan {
  init(_ settings: ModelTrainingSettings, steps: Int, stepsPerEpoch: Int) {
    let epochs = settings.warmUpEpochs ?? Double(steps) / Double(stepsPerEpoch) / 50
    self.init(
      schedule: settings.progressive > 0 ? .bent(at: settings.progressive) : settings.schedule,
      peak: settings.peakRate, warmUpStart: settings.warmUpStart,
      warmUpSteps: Int((epochs * Double(stepsPerEpoch)).rounded()), end: settings.finalRate,
      decay: settings.weightDecay,
      finalDecay: settings.finalWeightDecay ?? settings.weightDecay, steps: steps)
  }
}

extension ProgressivePlan {
  /// Nil where all scales are trained from the start.
  init?(_ settings: ModelTrainingSettings, scales: Int, plan: StepPlan, stepsPerEpoch: Int) {
    guard settings.progressive > 0, scales > 1 else { return nil }
    let easing =
      settings.progressiveEasing.map { $0 * Double(stepsPerEpoch) } ?? Double(plan.steps) / 300
    let end = Int((Double(plan.steps) * settings.progressive).rounded())
    self.init(
      scales: scales, first: min(settings.progressiveFirst, scales - 1),
      warmUpSteps: plan.warmUpSteps, endStep: max(end, plan.warmUpSteps + 1),
      easingSteps: Int(easing.rounded()))
  }
}
