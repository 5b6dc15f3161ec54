import Pictures
import Torch

/// Tokens of one scale to be put in the place of others.
public struct WrongTokens: Sendable {
  /// Which places change, `[B, n_k]` row by row.
  public var isWrong: [Bool]
  /// What they change to, as many.
  public var tokens: [Int64]

  public init(isWrong: [Bool] = [], tokens: [Int64] = []) {
    precondition(isWrong.count == tokens.count, "a token for each place")
    (self.isWrong, self.tokens) = (isWrong, tokens)
  }

  /// Right tokens `[B, n_k]` with these in their places.
  package func replacing(_ right: Tensor) -> Tensor {
    let (shape, device) = (right.shape, right.device)
    let keeps = Tensor.of(isWrong.map { $0 ? Float(0) : 1 }, shape: shape, device: device)
    return (keeps .<= 0.5).choosing(.of(tokens, shape: shape, device: device), else: right)
  }
}

/// A tokenizer, ready to turn pictures into tokens and back.
public actor PictureTokenizer {
  private let executor: TensorExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor {
    executor.asUnownedSerialExecutor()
  }

  public nonisolated let configuration: TokenizerConfiguration
  private let tokenizer: Tokenizer
  private let device: Device

  /// Loads a tokenizer's checkpoint.
  ///
  /// - Throws: As ``ImageGenerator/init(model:tokenizer:options:)``.
  public init(_ path: String, options: ComputeOptions = .init()) async throws {
    let executor = TensorExecutor(name: "PictureTokenizer")
    let loaded = try await Loader(executor: executor).load(path, options)
    self.executor = executor
    tokenizer = loaded.tokenizer
    device = loaded.device
    configuration = loaded.tokenizer.configuration
  }

  /// The size of the pictures of a schedule, in pixels.
  public nonisolated func pictureSize(_ schedule: ScaleSchedule) -> (width: Int, height: Int) {
    let patch = configuration.patchSize
    return (schedule.final.width * patch, schedule.final.height * patch)
  }

  /// Pictures of the schedule's size to tokens.
  ///
  /// - Throws: ``MVARError`` for no pictures and for pictures of another size.
  public func tokens(of pictures: [Picture], schedule: ScaleSchedule) throws -> PictureTokens {
    try check(pictures, schedule)
    return try computing {
      try tokens(
        tokenizer.encode(.pixels(pictures, device: device), schedule: schedule), pictures.count)
    }
  }

  /// Pictures to tokens of which some are wrong, as a model's draws may be.
  ///
  /// - Parameter wrong: For each scale which tokens are to be replaced, and by which, `[B, n_k]` row by row.
  /// - Returns: At each scale the right tokens after what stands in the coarser ones, and what stands.
  /// - Throws: As ``tokens(of:schedule:)``.
  public func tokens(
    of pictures: [Picture], schedule: ScaleSchedule, replacing wrong: [WrongTokens]
  ) throws -> (right: PictureTokens, standing: PictureTokens) {
    try check(pictures, schedule)
    precondition(
      zip(wrong, schedule.sizes).allSatisfy { $0.tokens.count == pictures.count * $1.count },
      "a token for each place")
    return try computing {
      let features = tokenizer.features(of: .pixels(pictures, device: device))
      let (right, standing) = tokenizer.quantizer.tokens(features, schedule: schedule) {
        k, tokens in
        wrong[k].replacing(tokens)
      }
      return try (tokens(right, pictures.count), tokens(standing, pictures.count))
    }
  }

  private func tokens(_ pyramid: TokenPyramid, _ count: Int) throws -> PictureTokens {
    PictureTokens(
      schedule: pyramid.schedule, count: count,
      scales: try pyramid.scales.map { try $0.elements(as: Int64.self) })
  }

  private func check(_ pictures: [Picture], _ schedule: ScaleSchedule) throws {
    let size = pictureSize(schedule)
    guard !pictures.isEmpty else {
      throw MVARError(.invalidValue, "no pictures to tokenize; name one or more")
    }
    for picture in pictures where (picture.width, picture.height) != size {
      throw MVARError(
        .mismatch,
        "a picture of \(picture.width) × \(picture.height) pixels does not fit the scales "
          + "\(schedule), which make \(size.width) × \(size.height); resize it first")
    }
  }

  /// Tokens to pictures.
  ///
  /// - Throws: ``MVARError`` for tokens outside the vocabulary.
  public func pictures(of tokens: PictureTokens) throws -> [Picture] {
    let pyramid = try pyramid(tokens)
    return try computing { try (tokenizer.decode(pyramid()) * 0.5 + 0.5).pictures() }
  }

  /// The pictures after each scale.
  public func picturesOfEveryScale(of tokens: PictureTokens) throws -> [[Picture]] {
    let pyramid = try pyramid(tokens)
    return try computing {
      try tokenizer.decodeEveryScale(pyramid()).map { try ($0 * 0.5 + 0.5).pictures() }
    }
  }

  private func pyramid(_ tokens: PictureTokens) throws -> () throws -> TokenPyramid {
    let V = configuration.vocabulary
    for token in tokens.scales.joined() where !(0..<Int64(V)).contains(token) {
      throw MVARError(
        .mismatch,
        "token \(token) is outside this tokenizer's 0...\(V - 1); name the tokenizer that made it")
    }
    if case .none(let phis) = configuration.phi, phis != tokens.schedule.count {
      throw MVARError(
        .mismatch, "this tokenizer has \(phis) scales, and the tokens \(tokens.schedule.count)")
    }
    return {
      try TokenPyramid(
        schedule: tokens.schedule,
        scales: zip(tokens.scales, tokens.schedule.sizes).map {
          .of($0, shape: [tokens.count, $1.count], device: self.device)
        })
    }
  }

  private func computing<R>(_ body: () throws -> R) throws -> R {
    try withInferenceMode { try withTorchErrors(body) }
  }
}

private actor Loader {
  private let executor: TensorExecutor
  nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

  init(executor: TensorExecutor) { self.executor = executor }

  func load(_ path: String, _ options: ComputeOptions) throws
    -> sending (
      tokenizer: Tokenizer, device: Device
    )
  {
    let options = try options.resolve()
    Device.setThreadCount(options.threads)
    return (
      try .load(Checkpoint(path), dtype: options.dtype, device: options.device), options.device
    )
  }
}
