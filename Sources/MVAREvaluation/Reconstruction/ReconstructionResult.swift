import FeatureNetworks
import Foundation
import MVAR
import Pictures
import Torch

/// What a tokenizer keeps of pictures.
public struct ReconstructionResult: Sendable, Encodable {
  /// The Fréchet distance between pictures and reconstructions: rFID where the metric is FID.
  public let distance: EvaluationResult
  /// Decibels, the mean over pictures.
  public let psnr: Double
  /// The mean over pictures.
  public let ssim: Double
  /// ``PerceptualDistance`` with EfficientNet-Lite0, the mean over pictures; nil without its weights.
  public let perceptual: Double?
  /// ``LPIPS`` with VGG16, the mean over pictures; nil without its weights.
  public let lpips: Double?
  public let codebook: [CodebookUse.Usage]

  private enum CodingKeys: String, CodingKey {
    case distance, psnr, ssim, codebook
    case perceptual = "perceptual_efficientnet_lite0"
    case lpips = "lpips_vgg16"
  }
}

/// Takes pictures through a tokenizer and measures what comes back.
public struct ReconstructionEvaluation: Sendable {
  public let tokenizer: PictureTokenizer
  public let evaluator: Evaluator
  public let fidelity: FidelityMeter

  public init(tokenizer: PictureTokenizer, evaluator: Evaluator, fidelity: FidelityMeter) {
    (self.tokenizer, self.evaluator, self.fidelity) = (tokenizer, evaluator, fidelity)
  }

  /// - Parameters:
  ///   - source: Pictures of the schedule's size.
  ///   - batch: Pictures at once.
  ///   - progress: Told how many are done.
  /// - Throws: As the tokenizer and ``Evaluator``; `CancellationError` at the next batch once the task
  ///   is cancelled.
  public func run(
    _ source: any PictureSource, schedule: ScaleSchedule, batch: Int,
    comparison: Evaluator.Comparison = .init(), progress: @Sendable (Int) -> Void = { _ in }
  ) async throws -> ReconstructionResult {
    let needsFeatures = comparison.neighbours || comparison.kernel || comparison.resamples > 0
    let plan = MeasuringPlan(
      count: source.count, keepsFeatures: needsFeatures, isGrouped: source.isGrouped)
    let (before, after) = (await evaluator.begin(plan), await evaluator.begin(plan))
    var codebook = CodebookUse(vocabulary: tokenizer.configuration.vocabulary)
    for start in stride(from: 0, to: source.count, by: batch) {
      let range = start..<min(start + batch, source.count)
      let pictures = try await source.pictures(range)
      try Task.checkCancellation()
      let tokens = try await tokenizer.tokens(of: pictures, schedule: schedule)
      codebook.add(tokens)
      let copies = try await tokenizer.pictures(of: tokens)
      try await fidelity.add(pictures, copies)
      try await evaluator.add(pictures, to: before)
      try await evaluator.add(copies, to: after)
      progress(range.upperBound)
    }
    let real = try await evaluator.finish(before, name: source.name)
    let made = try await evaluator.finish(after) { "the reconstruction of \(source.name($0))" }
    let figures = try await fidelity.means()
    return ReconstructionResult(
      distance: try await evaluator.compare(made, with: Reference(real), comparison),
      psnr: figures.psnr, ssim: figures.ssim, perceptual: figures.perceptual,
      lpips: figures.lpips, codebook: codebook.usages)
  }
}

/// Means of what is measured of single pairs of pictures.
public actor FidelityMeter {
  private let executor: TensorExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor {
    executor.asUnownedSerialExecutor()
  }

  struct Means {
    let psnr: Double
    let ssim: Double
    let perceptual: Double?
    let lpips: Double?
  }

  private enum Figure: Hashable {
    case psnr, ssim, perceptual, lpips
  }

  private let device: Device
  private let efficientNet: NetworkFile?
  private let lpipsFiles: LPIPSFiles?
  private var perceptual: PerceptualDistance?
  private var lpips: LPIPS?
  private var sums: [Figure: Tensor] = [:]
  private var count = 0

  /// - Parameters:
  ///   - efficientNet: For the perceptual distance; nil to do without.
  ///   - lpips: For LPIPS; nil to do without.
  public init(
    efficientNet: NetworkFile?, lpips: LPIPSFiles? = nil, options: ComputeOptions = .init()
  ) throws {
    try options.prepare()
    executor = TensorExecutor(name: "FidelityMeter")
    device = options.place.device
    self.efficientNet = efficientNet
    lpipsFiles = lpips
  }

  /// Adds pairs of pictures, all of one size.
  ///
  /// - Throws: `MVARError` where a network's file does not fit, and ``EvaluationError`` where the
  ///   pictures are too small for LPIPS.
  public func add(_ pictures: [Picture], _ copies: [Picture]) throws {
    try loadNetworks()
    if lpips != nil { try checkSide(pictures) }
    try withInferenceMode {
      try withTorchErrors {
        let a = Tensor.bytes(of: pictures, device: device).to(.float32)
        let b = Tensor.bytes(of: copies, device: device).to(.float32)
        for (figure, values) in figures(a, b) {
          let sum = values.to(.float64).sum(0)
          sums[figure] = sums[figure].map { $0 + sum } ?? sum
        }
        count += pictures.count
      }
    }
  }

  /// Pixels in 0 … 255, `[B, 3, H, W]` each, to `[B]` of every figure.
  private func figures(_ a: Tensor, _ b: Tensor) -> [(Figure, Tensor)] {
    var figures: [(Figure, Tensor)] = [
      (.psnr, PictureFidelity.psnr(a, b)), (.ssim, PictureFidelity.ssim(a, b)),
    ]
    if let perceptual { figures.append((.perceptual, perceptual(a / 127.5 - 1, b / 127.5 - 1))) }
    if let lpips { figures.append((.lpips, lpips(a / 127.5 - 1, b / 127.5 - 1))) }
    return figures
  }

  private func loadNetworks() throws {
    if let efficientNet, perceptual == nil {
      perceptual = PerceptualDistance(try EfficientNetLite0.load(efficientNet, device: device))
    }
    if let lpipsFiles, lpips == nil { lpips = try LPIPS.load(lpipsFiles, device: device) }
  }

  private func checkSide(_ pictures: [Picture]) throws(EvaluationError) {
    guard let small = pictures.first(where: { min($0.width, $0.height) < LPIPS.smallestSide })
    else { return }
    throw EvaluationError(
      .pictures, "reconstruction", "pictures of \(small.width) × \(small.height) pixels",
      mend: "LPIPS sees \(LPIPS.smallestSide) and more along a side, leave it out")
  }

  /// - Throws: ``EvaluationError`` where there were no pictures.
  func means() throws -> Means {
    guard count > 0 else {
      throw EvaluationError(.pictures, "reconstruction", "no pictures", mend: "name some")
    }
    let means = try withTorchErrors { try sums.mapValues { try $0.item() / Double(count) } }
    return Means(
      psnr: means[.psnr]!, ssim: means[.ssim]!, perceptual: means[.perceptual],
      lpips: means[.lpips])
  }
}
