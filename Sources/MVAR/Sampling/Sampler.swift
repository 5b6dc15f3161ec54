import Torch

/// Draws images scale by scale, as an iterator: each `next()` is one scale.
///
/// The transformer's state is carried from scale to scale, so that nothing is computed twice.
public struct Sampler: Sequence, IteratorProtocol {
  /// What one scale added.
  public struct Scale {
    /// k, from 0.
    public let index: Int
    /// `[B, n_k]` int64
    public let tokens: Tensor
    /// Before guidance, conditional rows first: `[2 B, n_k, V]`, float32.
    public let logits: Tensor
    /// f̂ with this scale, `[B, Cvae, h, w]`.
    public let fHat: Tensor
  }

  private let transformer: Transformer
  private let quantizer: Quantizer
  private let settings: SamplingSettings
  private let draw: TokenDraw
  private let filter: LogitFilter
  private let condition: Transformer.Condition
  private var state: Transformer.State
  private var fHat: Tensor?
  private let batch: Int

  /// - Parameters:
  ///   - labels: One class an image.
  ///   - seeds: One seed an image.
  public init(
    transformer: Transformer, tokenizer: Tokenizer, labels: [Int], seeds: [UInt64],
    settings: SamplingSettings, device: Device = .cpu
  ) {
    precondition(labels.count == seeds.count && !labels.isEmpty)
    self.transformer = transformer
    self.settings = settings
    quantizer = tokenizer.quantizer
    batch = labels.count
    draw = TokenDraw(seeds: seeds, device: device)
    filter = LogitFilter(topK: settings.topK, topP: settings.topP)
    let unconditional = Array(repeating: transformer.unconditionalLabel, count: batch)
    condition = transformer.condition(.of(labels + unconditional, device: device))
    state = transformer.initialState()
  }

  /// Draws the next scale; nil after the last.
  public mutating func next() -> Scale? {
    let schedule = transformer.configuration.schedule
    let k = state.scale
    guard k < schedule.count else { return nil }
    let input = fHat.map { quantizer.input(fromFHat: $0, scale: k, schedule).repeated(2, 1, 1) }
    let logits = transformer.step(input, condition: condition, state: &state)
    let allowed = filter(guided(logits, progress: progress(k)))
    let tokens = draw.tokens(allowed, scale: k)
    let codes = settings.smooth ? mixed(allowed, k) : quantizer.codebook.embedding(tokens)
    let added = quantizer.contribution(of: codes, scale: k, schedule)
    let sum = fHat.map { $0 + added } ?? added
    fHat = sum
    return Scale(index: k, tokens: tokens, logits: logits, fHat: sum)
  }

  /// k/(K−1)
  private func progress(_ k: Int) -> Double {
    Self.progress(k, transformer.configuration.schedule)
  }

  /// k / (K − 1) of scale k: how far guidance has grown.
  static func progress(_ k: Int, _ schedule: ScaleSchedule) -> Double {
    schedule.count == 1 ? 1 : Double(k) / Double(schedule.count - 1)
  }

  /// (1 + t)·conditional − t·unconditional
  private func guided(_ logits: Tensor, progress: Double) -> Tensor {
    let t = settings.guidance * progress
    let conditional = logits.slice(0, 0..<batch)
    return t == 0 ? conditional : conditional * (1 + t) - logits.slice(0, batch..<2 * batch) * t
  }

  /// `more_smooth` of the reference: a mixture of codes that sharpens from scale to scale.
  private func mixed(_ logits: Tensor, _ k: Int) -> Tensor {
    let ratio = progress(k)
    let temperature = Swift.max(0.27 * (1 - ratio * 0.95), 0.005)
    return draw.mixture(logits * (1 + ratio), temperature: temperature, scale: k)
      .matmul(quantizer.codebook)
  }
}
