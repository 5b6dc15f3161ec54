import Foundation
import MVAR
import Torch

/// A tokenizer that learns: its weights, their average, the adversary, the optimisers, and one step.
///
/// The modules are those that generate; they are made anew of the float32 weights for each pass, so
/// that every cast and every merged weight is a recorded function of them.
public final class TokenizerLearner {
  public let settings: TokenizerTrainingSettings
  public let schedule: ScaleSchedule
  public let configuration: TokenizerConfiguration
  public let weights: MasterWeights
  /// The average of the weights over the steps, in their order; nil for none.
  public let average: [Tensor]?
  public let optimizer: AdamW
  /// Nil where there is no adversary.
  let adversary: Adversary?
  let care: CodebookCare
  /// Steps made.
  public internal(set) var stepCount = 0

  private let precision: DType
  private let device: Device
  private let perceptual: (any PerceptualNetwork)?
  private let plan: StepPlan
  private let steps: Int
  /// 1 once a loss or gradient was no number; the weights stay from then on.
  private var skip: Tensor
  /// The step of that, or −1.
  private var firstBad: Tensor

  /// The network that learns to tell decoded pictures from original ones.
  struct Adversary {
    let weights: MasterWeights
    let optimizer: AdamW
  }

  /// The numbers of a step, each a tensor of one element, by the name that a log uses.
  public typealias Measures = [String: Tensor]

  /// - Parameters:
  ///   - initial: Where the weights begin; nil for fresh ones.
  ///   - adversary: The same for the adversary.
  ///   - perceptual: Nil for no perceptual loss.
  ///   - precision: What the networks compute in; weights and quantiser stay in float32.
  ///   - steps: Of the run.
  public init(
    _ settings: TokenizerTrainingSettings, initial: (any ParameterSource)? = nil,
    adversary: (any ParameterSource)? = nil, perceptual: (any PerceptualNetwork)?,
    precision: DType, device: Device, steps: Int
  ) throws {
    try settings.validate()
    self.settings = settings
    schedule = try settings.scaleSchedule()
    let configuration = settings.configuration
    self.configuration = configuration
    self.precision = precision
    self.device = device
    self.perceptual = settings.perceptualWeight > 0 ? perceptual : nil
    self.steps = steps
    weights = try MasterWeights(
      initial ?? ConvolutionInitialization(seed: settings.seed), device: device
    ) { _ = Tokenizer($0, configuration: configuration) }
    optimizer = Self.optimizer(weights, settings)
    let channels = settings.adversaryChannels
    self.adversary =
      settings.adversarialWeight > 0
      ? try {
        let weights = try MasterWeights(
          adversary ?? ConvolutionInitialization(seed: ~settings.seed), device: device
        ) { _ = PatchAdversary($0, channels: channels) }
        return Adversary(weights: weights, optimizer: Self.optimizer(weights, settings))
      }() : nil
    let leaves = weights.tensors
    average =
      settings.averaging > 0 ? withoutGradient { leaves.map { $0.detached().clone() } } : nil
    care = CodebookCare(
      seed: settings.seed, schedule: schedule, vocabulary: settings.codes, device: device)
    plan = StepPlan(
      schedule: settings.schedule, peak: settings.rate, warmUpStart: 0.01,
      warmUpSteps: Int((settings.warmUp * Double(steps)).rounded()), end: settings.finalRate,
      decay: settings.weightDecay, finalDecay: settings.weightDecay, steps: steps)
    skip = .zeros([], device: device)
    firstBad = .full([], -1, device: device)
  }

  /// Vectors and codes are not drawn to zero.
  private static func optimizer(_ weights: MasterWeights, _ settings: TokenizerTrainingSettings)
    -> AdamW
  {
    func decays(_ name: String, _ tensor: Tensor) -> Bool {
      tensor.rank > 1 && name != codebookName
    }
    let named = weights.named
    return AdamW(
      [
        .init(named.filter { decays($0.name, $0.tensor) }.map(\.tensor)),
        .init(named.filter { !decays($0.name, $0.tensor) }.map(\.tensor), decayScale: 0),
      ], betas: (settings.beta1, settings.beta2))
  }

  static let codebookName = "quantize.embedding.weight"
  private static let lastLayerName = "decoder.conv_out.weight"

  private func leaf(_ name: String) -> Tensor {
    weights.named.first { $0.name == name }!.tensor
  }

  private func scope(_ source: any ParameterSource) -> Parameters {
    Parameters(source, dtype: precision, device: device, purpose: .training)
  }

  /// The tokenizer as its weights are now, for training.
  func tokenizer() -> Tokenizer { Tokenizer(scope(weights), configuration: configuration) }

  /// The tokenizer with the average weights; with the last ones where there is no average.
  func averagedTokenizer() -> Tokenizer {
    guard let average else { return tokenizer() }
    let source = NamedTensors(Dictionary(uniqueKeysWithValues: zip(weights.order, average)))
    return Tokenizer(scope(source), configuration: configuration)
  }

  // MARK: A step

  /// Learns from one batch.
  ///
  /// - Parameters:
  ///   - images: Pixels in [−1, 1], `[B, 3, S, S]` float32.
  ///   - measures: Whether to compute what a log keeps.
  /// - Throws: `TorchError` where memory is short, for example.
  public func step(_ images: Tensor, measures: Bool) throws -> Measures? {
    try withTorchErrors {
      var numbers = Measures()
      let (decoded, quantized) =
        isDecoderTail ? (try decodedFromSpoiltCodes(images), nil) : decoded(images)
      let loss = loss(decoded, images, quantized, &numbers)
      optimizer.clearGradients()
      loss.backward()
      finish(loss, quantized, &numbers)
      if let adversary, adversaryShare > 0 {
        learn(adversary, original: images, decoded: decoded.detached(), &numbers)
      }
      stepCount += 1
      if measures { addMeasures(&numbers, decoded, images) }
      return measures ? numbers : nil
    }
  }

  /// Through encoder, quantiser and decoder.
  private func decoded(_ images: Tensor) -> (pixels: Tensor, quantized: Quantization?) {
    let tokenizer = tokenizer()
    let features = tokenizer.features(of: images)
    if stepCount == 0 { care.begin(leaf(Self.codebookName), features: features.detached()) }
    // The modules above were made before the codebook had its first codes.
    let quantizer = stepCount == 0 ? self.tokenizer().quantizer : tokenizer.quantizer
    let quantized = quantizer.learning(
      features, schedule: schedule, beta: settings.commitment, kept: keptScales(images.length(0)))
    return (tokenizer.unclampedPixels(ofFHat: quantized.decoded), quantized)
  }

  /// Whether the decoder alone learns by now.
  private var isDecoderTail: Bool {
    Double(stepCount) >= (1 - settings.decoderTail) * Double(steps)
  }

  /// Through the decoder alone, from codes of which some are wrong.
  private func decodedFromSpoiltCodes(_ images: Tensor) throws -> Tensor {
    let tokenizer = tokenizer()
    let fHat = try withoutGradient {
      let pyramid = tokenizer.quantizer.tokens(tokenizer.features(of: images), schedule: schedule)
      return tokenizer.quantizer.fHats(try spoilt(pyramid)).last!
    }
    return tokenizer.unclampedPixels(ofFHat: fHat)
  }

  /// The tokens with a share of each picture's, up to ``TokenizerTrainingSettings/wrongCodes``, replaced
  /// by any others.
  func spoilt(_ pyramid: TokenPyramid) throws -> TokenPyramid {
    let B = pyramid.batch
    var draws = Draws(seed: settings.seed, .wrong, epoch: 0, place: stepCount)
    let shares = (0..<B).map { _ in settings.wrongCodes * draws.uniform() }
    let scales = pyramid.scales.map { tokens in
      let count = tokens.length(1)
      var wrong = WrongTokens()
      for picture in 0..<B { wrong.append(count, share: shares[picture], settings.codes, &draws) }
      return wrong.replacing(tokens)
    }
    return try TokenPyramid(schedule: pyramid.schedule, scales: scales)
  }

  /// The loss of the tokenizer.
  private func loss(
    _ decoded: Tensor, _ images: Tensor, _ quantized: Quantization?, _ numbers: inout Measures
  ) -> Tensor {
    let difference = decoded - images
    let (absolute, squared) = (difference.absolute().mean(), difference.power(2).mean())
    numbers["train/l1"] = absolute.detached()
    numbers["train/l2"] = squared.detached()
    numbers["train/quantization"] = quantized?.loss.detached()
    var loss = absolute * settings.absoluteWeight + squared * settings.squaredWeight
    if let perceptual {
      let distance = perceptual.distance(decoded, from: images)
      numbers["train/perceptual"] = distance.detached()
      loss = loss + distance * settings.perceptualWeight
    }
    if let adversary, adversaryShare > 0 {
      loss = loss + deception(adversary, decoded, reconstruction: loss, &numbers)
    }
    let total = quantized.map { loss + $0.loss } ?? loss
    numbers["train/loss"] = total.detached()
    return total
  }

  /// How far the adversary sees through the decoded pictures, weighted so that its gradient in the
  /// last layer is as long as that of the reconstruction (VQGAN, arXiv 2012.09841, equation 7).
  private func deception(
    _ adversary: Adversary, _ decoded: Tensor, reconstruction: Tensor, _ numbers: inout Measures
  ) -> Tensor {
    // Its weights as constants: this loss is not the adversary's.
    let constants = NamedTensors(
      Dictionary(
        uniqueKeysWithValues: adversary.weights.named.map { ($0.name, $0.tensor.detached()) }))
    let judge = PatchAdversary(scope(constants), channels: settings.adversaryChannels)
    let deception = judge(decoded).mean() * -1
    let last = [leaf(Self.lastLayerName)]
    func length(_ loss: Tensor) -> Tensor {
      loss.gradients(of: last, keepingGraph: true)[0].map { [$0].norms()[0] }
        ?? .zeros([], device: device)
    }
    let weight = (length(reconstruction) / (length(deception) + 1e-4)).clamped(0, 1e4).detached()
    numbers["train/deception"] = deception.detached()
    numbers["train/adversarial_weight"] = weight
    return deception * weight * (settings.adversarialWeight * adversaryShare)
  }

  /// 0 before the adversary comes in, 1 once its weight has grown.
  private var adversaryShare: Double {
    let start = settings.adversaryStart * Double(steps)
    let length = max(settings.adversaryWarmUp * Double(steps), 1)
    return min(max((Double(stepCount) - start) / length, 0), 1)
  }

  /// Clips, steps, averages, and looks after the codebook.
  private func finish(_ loss: Tensor, _ quantized: Quantization?, _ numbers: inout Measures) {
    withoutGradient {
      let norm = optimizer.gradients.clipInPlace(
        to: settings.clip > 0 ? settings.clip : .infinity)
      numbers["train/gradient_norm"] = norm
      observe(loss.detached() + norm)
      optimizer.step(
        rate: plan.rate(stepCount), weightDecay: plan.weightDecay(stepCount), skip: skip)
      if let average {
        let kept = min(settings.averaging, Double(1 + stepCount) / Double(10 + stepCount))
        average.moveInPlace(towards: weights.tensors, by: 1 - kept)
      }
      guard let quantized else { return }
      care.note(quantized.hits, step: stepCount)
      let every = settings.reviveEvery
      if every > 0, (stepCount + 1) % every == 0,
        Double(stepCount) < settings.reviveUntil * Double(steps)
      {
        let (codebook, moments) = (leaf(Self.codebookName), codebookMoments())
        care.revive(
          codebook, inputs: quantized.inputs, step: stepCount, following: averagedCodebook,
          clearing: moments)
      }
    }
  }

  private var averagedCodebook: [Tensor] {
    average.map { [$0[weights.order.firstIndex(of: Self.codebookName)!]] } ?? []
  }

  private func codebookMoments() -> [Tensor] {
    let codebook = leaf(Self.codebookName)
    for (group, parameters) in optimizer.groups.enumerated() {
      if let index = parameters.parameters.firstIndex(where: { $0 === codebook }) {
        return [optimizer.means[group][index], optimizer.squares[group][index]]
      }
    }
    return []
  }

  /// One step of the adversary.
  private func learn(
    _ adversary: Adversary, original: Tensor, decoded: Tensor, _ numbers: inout Measures
  ) {
    let judge = PatchAdversary(scope(adversary.weights), channels: settings.adversaryChannels)
    let loss = PatchAdversary.hinge(original: judge(original), decoded: judge(decoded))
    adversary.optimizer.clearGradients()
    loss.backward()
    let norm = adversary.optimizer.gradients.clipInPlace(
      to: settings.clip > 0 ? settings.clip : .infinity)
    observe(loss.detached() + norm)
    adversary.optimizer.step(
      rate: plan.rate(stepCount), weightDecay: plan.weightDecay(stepCount), skip: skip)
    numbers["train/adversary"] = loss.detached()
  }

  /// How many scales of each picture are decoded in this step; nil for all of all.
  private func keptScales(_ batch: Int) -> [Int]? {
    guard settings.scaleDropout > 0, schedule.count > 1 else { return nil }
    var draws = Draws(seed: settings.seed, .scales, epoch: 0, place: stepCount)
    return (0..<batch).map { _ in
      let (coin, kept) = (draws.uniform(), 1 + draws.below(schedule.count - 1))
      return coin < settings.scaleDropout ? kept : schedule.count
    }
  }

  private func addMeasures(_ numbers: inout Measures, _ decoded: Tensor, _ images: Tensor) {
    withoutGradient {
      let usage = care.usage(batch: images.length(0))
      for k in schedule.sizes.indices { numbers["train/usage/scale\(k + 1)"] = usage[k] }
      numbers["train/psnr"] = Self.psnr(decoded, images)
    }
  }

  /// The peak signal-to-noise ratio in dB of pixels in [−1, 1]; one element.
  static func psnr(_ decoded: Tensor, _ images: Tensor) -> Tensor {
    (decoded.clamped(-1, 1) - images).power(2).mean().log() * (-10 / Foundation.log(10.0))
      + 20 * Foundation.log10(2.0)
  }

  // MARK: Health

  /// Notes a number that must be finite, without making a GPU wait.
  private func observe(_ number: Tensor) {
    let bad = number.isFinite().to(.float32) * -1 + 1
    let isFirst = skip .< bad
    firstBad = isFirst.choosing(.full([], Double(stepCount + 1), device: device), else: firstBad)
    skip = Tensor.stack([skip, bad], axis: 0).max(0)
  }

  /// - Throws: ``TrainingError`` of kind `divergence` if a loss or gradient was no number so far.
  public func checkHealth() throws {
    let step = try firstBad.item()
    if step >= 0 {
      throw TrainingError(
        .divergence, "the loss or a gradient of step \(Int(step)) is no number")
    }
  }

  /// The learning rate of the next step.
  public var rate: Double { plan.rate(stepCount) }

  // MARK: Looking

  /// Pictures as the averaged tokenizer gives them back, `[B, 3, S, S]` in [−1, 1], and after each scale.
  ///
  /// - Parameter everyScale: Whether to decode after every scale, not the last alone.
  public func reconstruct(_ images: Tensor, everyScale: Bool = false) throws -> [Tensor] {
    try withTorchErrors {
      try withoutGradient {
        let tokenizer = averagedTokenizer()
        let pyramid = try tokenizer.encode(images, schedule: schedule)
        return everyScale ? tokenizer.decodeEveryScale(pyramid) : [tokenizer.decode(pyramid)]
      }
    }
  }

  /// L1, L2 and PSNR of the averaged tokenizer over pictures that were not learnt from.
  public func evaluate(_ batches: [Tensor]) throws -> [String: Double] {
    var sums: [String: Double] = [:]
    for images in batches {
      let decoded = try reconstruct(images)[0]
      let difference = decoded - images
      let numbers = [
        "l1": difference.absolute().mean(), "l2": difference.power(2).mean(),
        "psnr": Self.psnr(decoded, images),
      ]
      for (name, number) in numbers {
        sums["validation/\(name)", default: 0] += try number.item() / Double(batches.count)
      }
    }
    return sums
  }
}
