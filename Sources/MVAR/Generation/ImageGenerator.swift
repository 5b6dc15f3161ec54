import Pictures
import Synchronization
import Torch

/// A model and its tokenizer, ready to generate.
///
///     let generator = try await ImageGenerator(model: "d16.pth", tokenizer: "vae_ch160v4096z32.pth")
///     let pictures = try await generator.pictures([ImageRequest(label: 207, seed: 1)])
///
/// May be used from several tasks at once: their scales take turns. Nothing is global.
public actor ImageGenerator {
  private let executor: TensorExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor {
    executor.asUnownedSerialExecutor()
  }

  public nonisolated let configuration: TransformerConfiguration
  public nonisolated let tokenizerConfiguration: TokenizerConfiguration
  /// What the model computes in.
  public nonisolated let dtype: DType
  /// Where it computes.
  public nonisolated let device: Device
  /// Why the GPU's fused kernels are not used although they were asked for: the compiler's words, where it is missing or does
  /// not know the GPU. Generating takes ten to twenty times as long then. Nil where nothing is amiss.
  public nonisolated let kernelFailure: String?

  // Only touched on the executor's thread.
  let transformer: Transformer
  let tokenizer: Tokenizer
  /// Nil unless editing was asked for.
  let encoder: Tokenizer?
  let fused: FusedModel?
  private nonisolated let producers = Producers()

  /// Loads both checkpoints.
  ///
  /// - Parameter edits: Whether pictures will be edited, which takes the tokenizer's encoder too.
  /// - Throws: ``MVARError``, `CheckpointFormatError` or `TorchError` for files that cannot be read,
  ///   are not what they are named as, or do not belong together, and for a device that is not there.
  public init(
    model: String, tokenizer: String, options: ComputeOptions = .init(), edits: Bool = false
  ) async throws {
    let executor = TensorExecutor(name: "ImageGenerator")
    let loader = ModelLoader(executor: executor)
    let loaded = try await loader.load(
      model: model, tokenizer: tokenizer, options: options, encodes: edits)
    self.executor = executor
    transformer = loaded.transformer
    self.tokenizer = loaded.tokenizer
    encoder = loaded.encoder
    fused = loaded.fused
    kernelFailure = loaded.kernelFailure
    var configuration = loaded.transformer.configuration
    configuration.classNames = loaded.classNames
    self.configuration = configuration
    tokenizerConfiguration = loaded.tokenizer.configuration
    dtype = loaded.options.dtype
    device = loaded.options.device
  }

  /// The size of the pictures, in pixels.
  public nonisolated var pictureSize: (width: Int, height: Int) {
    let final = configuration.schedule.final
    let patch = tokenizerConfiguration.patchSize
    return (final.width * patch, final.height * patch)
  }

  /// The sizes of batch that a GPU records its work for, ascending, until there is room for `most` pictures; a batch takes the
  /// next size that holds it. Of each size the first batch is drawn slowly, the second is recorded. Empty where nothing is
  /// recorded, as on a CPU.
  public nonisolated func recordedBatchSizes(upTo most: Int) -> [Int] {
    fused == nil ? [] : PaddedBatch.sizes(upTo: most)
  }

  /// The finished pictures of one batch.
  ///
  /// - Throws: ``MVARError`` for classes or settings out of range, `TorchError` if memory runs out,
  ///   `CancellationError` at the next scale once the task is cancelled.
  public func pictures(
    _ requests: [ImageRequest], settings: SamplingSettings = .init()
  ) async throws -> [Picture] {
    var pictures: [Picture] = []
    for try await scale in scales(requests, settings: settings) {
      pictures = scale.pictures ?? pictures
    }
    try Task.checkCancellation()
    return pictures
  }

  /// One batch, scale by scale. Leaving the loop or cancelling the task stops the work after the
  /// scale that is being drawn.
  ///
  /// - Parameters:
  ///   - settings: Those of every request that has none of its own.
  ///   - previews: Whether every scale comes with pictures; decoding them takes time.
  ///   - traceFile: Where to write all tokens, logits and the images, as safetensors.
  public nonisolated func scales(
    _ requests: [ImageRequest], settings: SamplingSettings = .init(), previews: Bool = false,
    traceFile: String? = nil
  ) -> AsyncThrowingStream<GeneratedScale, any Error> {
    reported {
      try await self.run(
        requests, settings: settings, previews: previews, traceFile: traceFile, report: $0)
    }
  }

  /// What some work reports, scale by scale; leaving the loop cancels it.
  nonisolated func reported(
    _ work: @escaping @Sendable (@Sendable (GeneratedScale) -> Void) async throws -> Void
  ) -> AsyncThrowingStream<GeneratedScale, any Error> {
    AsyncThrowingStream { continuation in
      let task = producers.start {
        do {
          try await work { continuation.yield($0) }
          continuation.finish()
        } catch {
          continuation.finish(throwing: error)
        }
      }
      continuation.onTermination = { _ in task.cancel() }
    }
  }

  private func run(
    _ requests: [ImageRequest], settings: SamplingSettings, previews: Bool, traceFile: String?,
    report: @Sendable (GeneratedScale) -> Void
  ) async throws {
    try Task.checkCancellation()
    for settings in [settings] + requests.compactMap(\.settings) { try settings.validate() }
    try validate(classes: requests.map(\.label))
    guard !requests.isEmpty else { return }
    let drawing = try computing {
      try ScaleDrawing(
        transformer: transformer, tokenizer: tokenizer, fused: fused,
        labels: requests.map(\.label), seeds: requests.map(\.seed),
        settings: requests.map { $0.settings ?? settings }, device: device,
        keepsLogits: traceFile != nil)
    }
    try await draw(drawing, previews: previews, traceFile: traceFile, report: report)
  }

  /// Draws all scales of a batch; other tasks get their turns between them.
  func draw(
    _ drawing: ScaleDrawing, previews: Bool, traceFile: String? = nil,
    report: @Sendable (GeneratedScale) -> Void
  ) async throws {
    try Task.checkCancellation()
    var drawing = drawing
    var trace = try computing { traceFile == nil ? nil : SamplingTrace() }
    let count = configuration.schedule.count
    for index in 0..<count {
      let pictures: [Picture]? = try computing {
        let isWanted = previews || trace != nil || index == count - 1
        guard isWanted else {
          try findingTokens { try drawing.pass() }
          return nil
        }
        let scale = try findingTokens { try drawing.next()! }
        trace?.add(scale)
        guard previews || index == count - 1 else { return nil }
        let image = try decode(scale.fHat) * 0.5 + 0.5
        if let traceFile, index == count - 1 { try trace?.write(image: image, to: traceFile) }
        return try image.pictures()
      }
      report(GeneratedScale(index: index, count: count, pictures: pictures))
      await Task.yield()
      try Task.checkCancellation()
    }
  }

  /// Returns once all work that was broken off has ended, which takes the scale that is being drawn. A program that ends after
  /// a cancellation waits for it, so that no work is torn apart.
  public nonisolated func drain() async {
    for task in producers.brokenOff { await task.value }
  }

  private func decode(_ fHat: Tensor) throws -> Tensor {
    try fused?.decoding(fHat: fHat) ?? tokenizer.decode(fHat: fHat)
  }

  /// Draws a scale. Shapes fit since the weights were loaded, so that an index out of range means logits of which none is the
  /// largest. They are not looked at for that before: a GPU would have to be waited for.
  private func findingTokens<R>(_ body: () throws -> R) throws -> R {
    do { return try withTorchErrors(body) } catch let error as TorchError
      where error.kind == .operation && error.message.contains(/index.* out of (bounds|range)/)
    {
      throw MVARError.noNumbers("the model's logits")
    }
  }

  func computing<R>(_ body: () throws -> R) throws -> R {
    try withInferenceMode { try withTorchErrors(body) }
  }

  nonisolated func validate(classes labels: [Int]) throws(MVARError) {
    let classes = configuration.classes
    for label in labels where !(0..<classes).contains(label) {
      throw MVARError.invalidValue(
        "class", "\(label)", mend: "this model has classes 0...\(classes - 1)")
    }
  }
}

/// The tasks that draw. A cancelled one may not have come to the executor yet, so that waiting for its turn there waits for
/// nothing.
private final class Producers: Sendable {
  private let tasks = Mutex<(next: Int, running: [Int: Task<Void, Never>])>((0, [:]))

  func start(_ work: @escaping @Sendable () async -> Void) -> Task<Void, Never> {
    tasks.withLock { tasks in
      let number = tasks.next
      let task = Task {
        await work()
        self.end(number)
      }
      tasks.running[number] = task
      tasks.next += 1
      return task
    }
  }

  private func end(_ number: Int) { tasks.withLock { $0.running[number] = nil } }

  var brokenOff: [Task<Void, Never>] {
    tasks.withLock { $0.running.values.filter(\.isCancelled) }
  }
}
