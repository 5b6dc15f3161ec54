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
  /// Neighbours that are drawn alike, and how.
  private let groups: [(images: Range<Int>, settings: SamplingSettings)]
  private let draw: TokenDraw
  private let given: GivenTokens?
  private let condition: Transformer.Condition
  private var state: Transformer.State
  private var fHat: Tensor?
  private let batch: Int

  /// - Parameters:
  ///   - labels: One class an image.
  ///   - seeds: One seed an image.
  ///   - settings: Those of every image.
  public init(
    transformer: Transformer, tokenizer: Tokenizer, labels: [Int], seeds: [UInt64],
    settings: [SamplingSettings], device: Device = .cpu
  ) {
    self.init(
      transformer: transformer, tokenizer: tokenizer, labels: labels,
      noise: seeds.map(DrawingNoise.seed), settings: settings, device: device)
  }

  /// - Parameters:
  ///   - labels: One class an image; ``Transformer/unconditionalLabel`` for none.
  ///   - noise: Where each image's random numbers come from.
  ///   - given: Tokens that are not drawn; nil to draw them all.
  init(
    transformer: Transformer, tokenizer: Tokenizer, labels: [Int], noise: [DrawingNoise],
    given: GivenTokens? = nil, settings: [SamplingSettings], device: Device = .cpu
  ) {
    precondition(labels.count == noise.count && labels.count == settings.count && !labels.isEmpty)
    self.given = given
    self.transformer = transformer
    groups = Self.groups(settings)
    quantizer = tokenizer.quantizer
    batch = labels.count
    draw = TokenDraw(noise: noise, device: device)
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
    let allowed = inGroups { images, settings in
      LogitFilter(topK: settings.topK, topP: settings.topP)(
        guided(logits, images, settings.guidance * progress(k)))
    }
    var tokens = draw.tokens(allowed, scale: k)
    var codes = inGroups { images, settings in
      settings.smooth
        ? mixed(allowed.slice(0, images), images, k)
        : quantizer.codebook.embedding(tokens.slice(0, images))
    }
    if let given {
      (tokens, codes) = given.mixed(tokens, codes, scale: k, codebook: quantizer.codebook)
    }
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

  private static func groups(_ settings: [SamplingSettings])
    -> [(images: Range<Int>, settings: SamplingSettings)]
  {
    settings.enumerated().reduce(into: []) { groups, next in
      if groups.last?.settings == next.element {
        groups[groups.count - 1].images =
          groups[groups.count - 1].images.lowerBound..<next.offset + 1
      } else {
        groups.append((next.offset..<next.offset + 1, next.element))
      }
    }
  }

  /// What `body` makes of each group's images, one after the other.
  private func inGroups(_ body: (Range<Int>, SamplingSettings) -> Tensor) -> Tensor {
    let parts = groups.map(body)
    return parts.count == 1 ? parts[0] : .concatenate(parts, axis: 0)
  }

  /// (1 + t)·conditional − t·unconditional
  private func guided(_ logits: Tensor, _ images: Range<Int>, _ t: Double) -> Tensor {
    let conditional = logits.slice(0, images)
    guard t != 0 else { return conditional }
    let others = images.lowerBound + batch..<images.upperBound + batch
    return conditional * (1 + t) - logits.slice(0, others) * t
  }

  /// `more_smooth` of the reference: a mixture of codes that sharpens from scale to scale.
  private func mixed(_ logits: Tensor, _ images: Range<Int>, _ k: Int) -> Tensor {
    let ratio = progress(k)
    let temperature = Swift.max(0.27 * (1 - ratio * 0.95), 0.005)
    return draw.mixture(
      logits * (1 + ratio), images: images, temperature: temperature, scale: k
    ).matmul(quantizer.codebook)
  }
}
