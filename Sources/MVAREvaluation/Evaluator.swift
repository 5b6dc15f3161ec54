import FeatureNetworks
import Foundation
import MVAR
import Pictures
import Torch

/// Measures sets of pictures with one network, and compares them.
///
///     let evaluator = try await Evaluator(.inception(NetworkFile(.inception)))
///     let real = try await evaluator.reference("VIRTUAL_imagenet256_labeled.npz")
///     let made = try await evaluator.measure(PictureFolder("pictures"))
///     let result = try await evaluator.compare(made, with: real)
public actor Evaluator {
  private let executor: TensorExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor {
    executor.asUnownedSerialExecutor()
  }

  public nonisolated let network: NetworkIdentity
  public nonisolated let device: Device
  /// Pictures that the network looks at together.
  public nonisolated let batch: Int
  /// Whether a GPU may multiply in TF32 inside the network.
  public nonisolated let usesTF32: Bool
  private let model: any FeatureNetwork
  private var builders: [SetInProgress: SetBuilder] = [:]
  private var begun = 0
  /// Decomposed once for many comparisons with one reference.
  private var decomposed: (statistics: GaussianStatistics, distance: FrechetDistance)?

  /// - Parameters:
  ///   - batch: Nil for 32 on a CPU and 256 on a GPU.
  ///   - usesTF32: Matters on a GPU only.
  /// - Throws: As ``NetworkFile``, and for a device that is not there.
  public init(
    _ choice: NetworkChoice, options: ComputeOptions = .init(), batch: Int? = nil,
    usesTF32: Bool = true
  ) async throws {
    try options.prepare()
    let device = options.place.device
    let executor = TensorExecutor(name: "Evaluator")
    model = try await NetworkLoader(executor: executor)
      .load(
        choice, device, threads: options.threads ?? ProcessInfo.processInfo.activeProcessorCount)
    self.executor = executor
    network = choice.identity
    self.device = device
    self.batch = batch ?? (device == .cpu ? 32 : 256)
    self.usesTF32 = usesTF32 && device != .cpu
  }

  // MARK: Features

  /// Measures all pictures of a source; no more than two batches of them are in memory.
  ///
  /// - Parameter progress: Told how many are done.
  /// - Throws: What the source throws, ``EvaluationError`` naming a picture whose features are not
  ///   finite, `CancellationError` at the next batch once the task is cancelled.
  public func measure(
    _ source: any PictureSource, keepsFeatures: Bool = true,
    progress: @Sendable (Int) -> Void = { _ in }
  ) async throws -> SetStatistics {
    let total = source.count
    let builder = makeBuilder(
      MeasuringPlan(count: total, keepsFeatures: keepsFeatures, isGrouped: source.isGrouped))
    let ranges = stride(from: 0, to: total, by: batch).map { $0..<min($0 + batch, total) }
    var next = ranges.first.map { range in Task { try await source.pictures(range) } }
    defer { next?.cancel() }
    for (index, range) in ranges.enumerated() {
      let pictures = try await next!.value
      try Task.checkCancellation()
      next = ranges.dropFirst(index + 1).first.map { range in
        Task { try await source.pictures(range) }
      }
      try computing { builder.add(try look(at: pictures)) }
      progress(range.upperBound)
    }
    return try computing { try builder.finish("the pictures", name: source.name) }
  }

  /// The features of some pictures of one size, in memory.
  ///
  /// - Throws: `TorchError` where memory runs out.
  public func features(of pictures: [Picture]) throws -> FeatureBatch {
    try computing {
      let features = try look(at: pictures)
      return FeatureBatch(
        count: pictures.count, pooled: try features.pooled.elements(as: Float.self),
        spatial: try features.spatial?.elements(as: Float.self) ?? [],
        logits: try features.logits?.elements(as: Float.self) ?? [])
    }
  }

  /// A set that is being measured.
  public struct SetInProgress: Sendable, Hashable {
    fileprivate let number: Int
  }

  /// Begins to measure a set whose pictures or features come bit by bit.
  public func begin(_ plan: MeasuringPlan) -> SetInProgress {
    let set = SetInProgress(number: begun)
    begun += 1
    builders[set] = makeBuilder(plan)
    return set
  }

  /// Adds pictures of one size, which must be no more than the plan says.
  ///
  /// - Throws: `TorchError` where memory runs out.
  public func add(_ pictures: [Picture], to set: SetInProgress) throws {
    try computing { builders[set]!.add(try look(at: pictures)) }
  }

  /// Adds features that were computed before.
  public func add(_ features: FeatureBatch, to set: SetInProgress) throws {
    try computing { builders[set]!.add(uploaded(features)) }
  }

  /// Ends a set.
  ///
  /// - Throws: ``EvaluationError`` naming a picture whose features are not finite, or for less than two
  ///   pictures.
  public func finish(
    _ set: SetInProgress, name: @Sendable (Int) -> String = { "picture \($0)" }
  ) throws -> SetStatistics {
    let builder = builders.removeValue(forKey: set)!
    return try computing { try builder.finish("the pictures", name: name) }
  }

  /// Lengths of pooled and spatial features and of logits; 0 for what the network has not.
  public var featureLengths: (pooled: Int, spatial: Int, logits: Int) {
    (model.featureCount, model.spatialCount ?? 0, model.classCount ?? 0)
  }

  private func look(at pictures: [Picture]) throws -> NetworkFeatures {
    try look(at: Tensor.bytes(of: pictures, device: device))
  }

  func look(at bytes: Tensor) throws -> NetworkFeatures {
    guard usesTF32 else { return model(bytes) }
    // Inside the network alone: the figures themselves are computed exactly.
    return try withTF32(convolutions: true, products: false) { model(bytes) }
  }

  private func uploaded(_ batch: FeatureBatch) -> NetworkFeatures {
    func tensor(_ numbers: [Float]) -> Tensor? {
      numbers.isEmpty
        ? nil
        : Tensor.of(numbers, shape: [batch.count, numbers.count / batch.count])
          .uploaded(to: device)
    }
    return NetworkFeatures(
      pooled: tensor(batch.pooled)!, spatial: tensor(batch.spatial), logits: tensor(batch.logits))
  }

  func makeBuilder(_ plan: MeasuringPlan) -> SetBuilder {
    SetBuilder(
      network, features: model.featureCount, spatial: model.spatialCount,
      classes: model.classCount, plan: plan, device: device)
  }

  // MARK: Comparison

  /// Which figures to compute besides the Fréchet distance.
  public struct Comparison: Sendable, Hashable {
    /// Precision and recall, and KID; they need the features of both sets.
    public var neighbours = true
    public var kernel = true
    /// How many resamples a confidence interval is made of; 0 for none.
    public var resamples = 0
    public var seed: UInt64 = 0

    public init() {}
  }

  /// The figures of some generated pictures against real ones.
  ///
  /// - Throws: ``EvaluationError`` where the sets were measured with different networks.
  public func compare(
    _ generated: SetStatistics, with reference: Reference, _ comparison: Comparison = .init(),
    progress: @Sendable (String) -> Void = { _ in }
  ) throws -> EvaluationResult {
    try computing {
      progress("Fréchet distance")
      let distance = try self.distance(to: reference.pooled)
      var result = EvaluationResult(network: network, generated: generated, reference: reference)
      result.frechetDistance = try distance(generated.pooled)
      if let spatial = generated.spatial, let real = reference.spatial {
        try Task.checkCancellation()
        progress("Fréchet distance of places")
        result.spatialFrechetDistance = try FrechetDistance(to: real, device: device)(spatial)
      }
      try Task.checkCancellation()
      if let made = tensor(generated.features, generated.pooled.dimension) {
        if let real = tensor(reference.features, generated.pooled.dimension) {
          if comparison.neighbours {
            progress("precision and recall")
            do {
              result.precisionRecall = try PrecisionRecall(
                real: real, generated: made, block: device == .cpu ? 2_500 : 10_000)
            } catch let error as EvaluationError {
              result.warnings.append(error.description)
            }
          }
          try Task.checkCancellation()
          if comparison.kernel {
            progress("KID")
            result.kernelDistance = try KernelDistance(
              real: real, generated: made, seed: comparison.seed)
          }
        }
        if comparison.resamples > 0 {
          result.interval = try distance.interval(
            of: made, distance: result.frechetDistance, resamples: comparison.resamples,
            seed: comparison.seed
          ) { done in
            try Task.checkCancellation()
            progress("resample \(done) of \(comparison.resamples)")
          }
        }
      }
      return result
    }
  }

  private func distance(to reference: GaussianStatistics) throws -> FrechetDistance {
    if let decomposed, decomposed.statistics == reference { return decomposed.distance }
    let distance = try FrechetDistance(to: reference, device: device)
    decomposed = (reference, distance)
    return distance
  }

  private func tensor(_ features: [Float]?, _ dimension: Int) -> Tensor? {
    features.map {
      Tensor.of($0, shape: [$0.count / dimension, dimension]).uploaded(to: device)
    }
  }

  func computing<R>(_ body: () throws -> R) throws -> R {
    try withInferenceMode { try withTorchErrors(body) }
  }
}

/// Loads a network on the thread that will compute.
private actor NetworkLoader {
  private let executor: TensorExecutor
  nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

  init(executor: TensorExecutor) { self.executor = executor }

  func load(
    _ choice: NetworkChoice, _ device: Device, threads: Int
  ) throws -> sending any FeatureNetwork {
    Device.setThreadCount(threads)
    return try choice.make(on: device)
  }
}

extension ComputeOptions.Place {
  /// What the place is on this machine; checked by ``ComputeOptions/prepare()``.
  var device: Device {
    switch self {
    case .cpu: .cpu
    case .cuda(let index): .cuda(index)
    case .auto: Device.cudaCount > 0 ? .cuda(0) : .cpu
    }
  }
}
