import Torch

/// Loads a model and its tokenizer on the thread that will compute, so that its pool of threads is
/// the one that is used.
actor ModelLoader {
  private let executor: TensorExecutor
  nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

  init(executor: TensorExecutor) { self.executor = executor }

  struct Loaded {
    let transformer: Transformer
    /// Perhaps without its encoder.
    let tokenizer: Tokenizer
    /// With its encoder, in float32, where it was asked for.
    let encoder: Tokenizer?
    /// Nil where the readable path does everything.
    let fused: FusedModel?
    /// Why the fused kernels that were asked for, and are made for such a device, are not there.
    let kernelFailure: String?
    /// What it took to compile the fused kernels, or to read them from where they are kept; nil where there are none.
    let secondsOfKernels: Double?
    /// What the model's classes are called, where its file tells.
    var classNames: [String]?
    let options: ComputeOptions.Resolved
  }

  /// The weights of two files, which may be one.
  ///
  /// - Parameter encodes: Whether pictures are to become tokens. Only float32 gives exact ones, so that
  ///   a model in 16 bits gets a second tokenizer.
  func load(
    model: String, tokenizer: String, options: ComputeOptions, encodes: Bool = false
  ) throws -> sending Loaded {
    let options = try options.resolve()
    Device.setThreadCount(options.threads)
    let modelFile = try Checkpoint(model)
    let tokenizerFile = tokenizer == model ? modelFile : try Checkpoint(tokenizer)
    let classNames = try Self.checkFit(modelFile, tokenizerFile).classNames
    let transformer = try Transformer.load(
      modelFile, dtype: options.dtype, device: options.device)
    let isExact = options.dtype == .float32
    let tokenizer = try Tokenizer.load(
      tokenizerFile, dtype: options.dtype, device: options.device, encodes: encodes && isExact)
    let encoder =
      !encodes
      ? nil : isExact ? tokenizer : try Tokenizer.load(tokenizerFile, device: options.device)
    return try withInferenceMode {
      try withTorchErrors {
        var loaded = Self.loaded(transformer, tokenizer, encoder, options)
        loaded.classNames = classNames
        return loaded
      }
    }
  }

  /// Random weights for a model and the published tokenizer.
  func random(
    _ configuration: TransformerConfiguration, seed: UInt64, options: ComputeOptions
  ) throws -> sending Loaded {
    let options = try options.resolve()
    Device.setThreadCount(options.threads)
    let parameters = Parameters(
      RandomSource(seed: seed), dtype: options.dtype, device: options.device)
    return try withInferenceMode {
      try withTorchErrors {
        let transformer = try Transformer(parameters, configuration: configuration)
        let tokenizer = Tokenizer(parameters / "tokenizer", encodes: false)
        try parameters.finish()
        return Self.loaded(transformer, tokenizer, nil, options)
      }
    }
  }

  private static func loaded(
    _ transformer: Transformer, _ tokenizer: Tokenizer, _ encoder: Tokenizer?,
    _ options: ComputeOptions.Resolved
  ) -> Loaded {
    var kernelFailure: String?
    var fused: FusedModel?
    let clock = ContinuousClock()
    let start = clock.now
    if options.fused {
      do {
        fused = try FusedModel(transformer, tokenizer, float8: options.float8)
      } catch {
        kernelFailure = "\(error)"
      }
    }
    let seconds = start.duration(to: clock.now).seconds
    return Loaded(
      transformer: transformer, tokenizer: tokenizer, encoder: encoder, fused: fused,
      kernelFailure: kernelFailure,
      secondsOfKernels: fused.map { seconds - ($0.transformer.classTable?.seconds ?? 0) },
      options: options)
  }

  /// Compares what the headers tell, before anything large is read.
  ///
  /// - Returns: The model's shape.
  private static func checkFit(_ model: Checkpoint, _ tokenizer: Checkpoint) throws
    -> TransformerConfiguration
  {
    let (m, t) = (try model.transformerConfiguration(), try tokenizer.tokenizerConfiguration())
    func mismatch(_ what: String, _ ours: Int, _ theirs: Int) -> MVARError {
      MVARError(
        .mismatch,
        "\(model.file) and \(tokenizer.file) do not belong together: \(what) is \(ours) in the "
          + "model and \(theirs) in the tokenizer; name the tokenizer that the model was trained with"
      )
    }
    if m.vocabulary != t.vocabulary { throw mismatch("the vocabulary", m.vocabulary, t.vocabulary) }
    if m.codeChannels != t.codeChannels {
      throw mismatch("the length of a code", m.codeChannels, t.codeChannels)
    }
    if case .none(let phis) = t.phi, phis != m.schedule.count {
      throw mismatch("the number of scales", m.schedule.count, phis)
    }
    return m
  }
}
