import Torch

/// Measures how long generating takes.
///
///     let benchmark = try await SamplingBenchmark(.init(kind: .mvar, depth: 16))
///     let first = try await benchmark.measure(batch: 1)
public actor SamplingBenchmark {
  /// One run over one batch.
  public struct Measurement: Sendable, Hashable, Codable {
    /// Seconds in the transformer and the drawing of tokens, for the batch.
    public let transformer: Double
    /// Seconds in the tokenizer's decoder, for the batch, until its result is there.
    public let decoder: Double
    /// Seconds of each scale, for the batch; the first has what depends on the class alone.
    public let scales: [Double]
    /// The mean of the pixels in [0, 1]; not a number if anything on the way was not.
    public let mean: Double

    /// Seconds for the batch.
    public var total: Double { transformer + decoder }
  }

  /// What it takes to know what classes alone decide: how they modulate every block, and the first scale.
  public struct TableSize: Sendable, Hashable, Codable {
    /// To compute it, when a model is loaded.
    public let seconds: Double
    public let bytes: Int
  }

  private let executor: TensorExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor {
    executor.asUnownedSerialExecutor()
  }

  public nonisolated let configuration: TransformerConfiguration
  public nonisolated let dtype: DType
  public nonisolated let device: Device
  public nonisolated let threads: Int
  /// As ``ImageGenerator/kernelFailure``.
  public nonisolated let kernelFailure: String?
  /// What it took to compile the GPU's fused kernels, or to read them from where they are kept; nil where there are none.
  public nonisolated let secondsOfKernels: Double?
  /// What a GPU knows of all classes from loading on; nil where each batch computes it.
  public nonisolated let classTable: TableSize?
  private let transformer: Transformer
  private let tokenizer: Tokenizer
  private let fused: FusedModel?

  /// Random weights of a model's shape, with a tokenizer of the published shape.
  ///
  /// - Throws: As ``ImageGenerator/init(model:tokenizer:options:)``.
  public init(
    _ configuration: TransformerConfiguration, seed: UInt64 = 1, options: ComputeOptions = .init()
  ) async throws {
    let executor = TensorExecutor(name: "SamplingBenchmark")
    let loader = ModelLoader(executor: executor)
    self.init(executor, try await loader.random(configuration, seed: seed, options: options))
  }

  /// The weights of two files.
  ///
  /// - Throws: As ``ImageGenerator/init(model:tokenizer:options:)``.
  public init(model: String, tokenizer: String, options: ComputeOptions = .init()) async throws {
    let executor = TensorExecutor(name: "SamplingBenchmark")
    let loader = ModelLoader(executor: executor)
    self.init(
      executor, try await loader.load(model: model, tokenizer: tokenizer, options: options))
  }

  private init(_ executor: TensorExecutor, _ loaded: sending ModelLoader.Loaded) {
    self.executor = executor
    transformer = loaded.transformer
    tokenizer = loaded.tokenizer
    fused = loaded.fused
    kernelFailure = loaded.kernelFailure
    secondsOfKernels = loaded.secondsOfKernels
    classTable = loaded.fused?.transformer.classTable.map {
      TableSize(seconds: $0.seconds, bytes: $0.bytes)
    }
    configuration = loaded.transformer.configuration
    dtype = loaded.options.dtype
    device = loaded.options.device
    threads = loaded.options.threads
  }

  /// Generates one batch and keeps nothing but the time it took.
  ///
  /// - Throws: `TorchError` if memory runs out, `CancellationError` at the next scale once the task is
  ///   cancelled.
  public func measure(
    batch: Int, settings: SamplingSettings = .init(), seed: UInt64 = 1
  ) throws -> Measurement {
    try settings.validate()
    guard batch > 0 else {
      throw MVARError.invalidValue("batch", "\(batch)", mend: "use 1 or more")
    }
    return try withInferenceMode {
      try withTorchErrors {
        let clock = ContinuousClock()
        let start = clock.now
        var marks = Marks(device)
        try marks.mark()
        let fHat = try draw(batch, settings, seed, &marks)
        let image = try fused?.decoding(fHat: fHat) ?? tokenizer.decode(fHat: fHat)
        // A GPU works on its own: its last result tells when it is done.
        let mean = try image.reshape(-1).mean(0).item() * 0.5 + 0.5
        let total = start.duration(to: clock.now).seconds
        let scales = try marks.seconds()
        let drawn = scales.reduce(0, +)
        return Measurement(
          transformer: drawn, decoder: total - drawn, scales: scales, mean: mean)
      }
    }
  }

  /// Where the transformer's time goes on a GPU: each part of the blocks measured alone.
  public struct PartTime: Sendable, Encodable {
    public let part: String
    /// One number a scale, all blocks together.
    public let millisecondsByScale: [Double]

    public var milliseconds: Double { millisecondsByScale.reduce(0, +) }

    private enum CodingKeys: String, CodingKey {
      case part
      case millisecondsByScale = "milliseconds_by_scale"
    }
  }

  /// Nil where there are no fused kernels.
  public func partTimes(batch: Int) throws -> [PartTime]? {
    guard let fused else { return nil }
    return try withInferenceMode {
      try withTorchErrors {
        try PartTimes(transformer, fused.transformer, batch: batch).milliseconds.map {
          PartTime(part: $0.part, millisecondsByScale: $0.scales)
        }
      }
    }
  }

  /// How fast this GPU copies and multiplies; nil on a CPU.
  public func deviceRates() throws -> DeviceRates? {
    guard device != .cpu, CUDA.isAvailable else { return nil }
    return try withInferenceMode {
      try withTorchErrors {
        try DeviceRates.measured(dtype == .float32 ? .bfloat16 : dtype, device)
      }
    }
  }

  /// Seconds that no implementation beats for a batch, with guidance and in 16 bits, on a device of such rates.
  public func floor(batch: Int, _ rates: DeviceRates) -> Double {
    SamplingFloor(
      transformer, tokenizer, knowsClasses: fused?.transformer.classTable != nil
    ).seconds(batch: batch, rates)
  }

  /// The most memory that was held on the GPU, in bytes; nil on a CPU.
  ///
  /// - Parameter reset: counts anew from here.
  public func peakDeviceMemory(reset: Bool = false) -> Int? {
    device == .cpu ? nil : try? CUDA.peakMemory(reset: reset)
  }

  /// What a run gave, to be compared with what another precision gives.
  public struct Drawing: Sendable {
    /// The tokens of all images, scale by scale.
    public let tokens: [[Int]]
    /// In [0, 1].
    public let pixels: [Float]
  }

  /// The likeliest token everywhere, with the guidance of the defaults.
  ///
  /// - Throws: As ``measure(batch:settings:seed:)``.
  public func likeliest(batch: Int) throws -> Drawing {
    try withInferenceMode {
      try withTorchErrors {
        var drawing = try drawing(batch, SamplingSettings(topK: 1, topP: 1), 1)
        var (tokens, last) = ([[Int]](), Tensor?.none)
        while let scale = try drawing.next() {
          tokens.append(try scale.tokens.elements(as: Int.self))
          last = scale.fHat
        }
        let image = try fused?.decoding(fHat: last!) ?? tokenizer.decode(fHat: last!)
        return Drawing(
          tokens: tokens, pixels: try (image * 0.5 + 0.5).elements(as: Float.self))
      }
    }
  }

  private func drawing(_ batch: Int, _ settings: SamplingSettings, _ seed: UInt64) throws
    -> ScaleDrawing
  {
    try ScaleDrawing(
      transformer: transformer, tokenizer: tokenizer, fused: fused,
      labels: (0..<batch).map { $0 * 37 % configuration.classes },
      seeds: (0..<batch).map { seed &+ UInt64($0) },
      settings: Array(repeating: settings, count: batch), device: device)
  }

  /// f̂ of the last scale; marks the end of each.
  private func draw(
    _ batch: Int, _ settings: SamplingSettings, _ seed: UInt64, _ marks: inout Marks
  ) throws -> Tensor {
    var drawing = try drawing(batch, settings, seed)
    for _ in 1..<configuration.schedule.count {
      try drawing.pass()
      try marks.mark()
      try Task.checkCancellation()
    }
    let last = try drawing.next()!
    try marks.mark()
    return last.fHat
  }
}
