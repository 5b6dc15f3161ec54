import Torch

/// Draws the scales of a batch in the fastest way there is for it: with fused kernels on a GPU, or readably.
enum ScaleDrawing {
  case readable(Sampler)
  case fused(FusedSampler)

  struct Scale {
    let index: Int
    let tokens: Tensor
    let fHat: Tensor
    /// Only from the readable path.
    let logits: Tensor?
  }

  /// - Parameters:
  ///   - given: Tokens that are not drawn; nil to draw them all.
  ///   - keepsLogits: asks for the logits of every scale, which graphs do not keep.
  init(
    transformer: Transformer, tokenizer: Tokenizer, fused: FusedModel?, labels: [Int],
    seeds: [UInt64], given: GivenTokens? = nil, settings: [SamplingSettings], device: Device,
    keepsLogits: Bool = false
  ) throws {
    let mixes = given?.mixes == true || settings.contains(where: \.smooth)
    if let fused, !mixes, !keepsLogits {
      self = .fused(
        try fused.sampler(labels: labels, seeds: seeds, given: given, settings: settings))
    } else {
      self = .readable(
        Sampler(
          transformer: transformer, tokenizer: tokenizer, labels: labels,
          noise: seeds.map(DrawingNoise.seed), given: given, settings: settings, device: device))
    }
  }

  /// With random numbers that are no seed's own: readably, wherever it is.
  init(
    transformer: Transformer, tokenizer: Tokenizer, labels: [Int], noise: [DrawingNoise],
    settings: [SamplingSettings], device: Device
  ) {
    self = .readable(
      Sampler(
        transformer: transformer, tokenizer: tokenizer, labels: labels, noise: noise,
        settings: settings, device: device))
  }

  /// Draws the next scale, of which nobody wants to know: nothing is copied, so that a GPU goes from one to the next.
  mutating func pass() throws {
    guard case .fused(let sampler) = self else {
      _ = try next()
      return
    }
    try sampler.pass()
  }

  mutating func next() throws -> Scale? {
    switch self {
    case .fused(let sampler):
      return try sampler.next().map {
        Scale(index: $0.index, tokens: $0.tokens, fHat: $0.fHat, logits: nil)
      }
    case .readable(var sampler):
      let scale = sampler.next()
      self = .readable(sampler)
      return scale.map {
        Scale(index: $0.index, tokens: $0.tokens, fHat: $0.fHat, logits: $0.logits)
      }
    }
  }
}
