import MVAR
import Torch

/// Small models with random weights, the same for the same seed.
enum RandomModels {
  /// Depth 2, width 128.
  static func configuration(
    _ kind: TransformerConfiguration.Kind, scales: String,
    norm: TransformerConfiguration.AttentionNorm = .l2, sharedAdaLN: Bool = false
  ) throws -> TransformerConfiguration {
    var configuration = TransformerConfiguration(
      kind: kind, depth: 2, schedule: try ScaleSchedule(parsing: scales))
    configuration.hidden = 256
    configuration.classes = 5
    configuration.vocabulary = 64
    configuration.codeChannels = 8
    configuration.attentionNorm = norm
    configuration.sharedAdaLN = sharedAdaLN
    return configuration
  }

  static func transformer(
    _ configuration: TransformerConfiguration, seed: UInt64 = 1, dtype: DType = .float32
  ) throws -> Transformer {
    let parameters = Parameters(RandomSource(seed: seed), dtype: dtype, device: .cpu)
    return try Transformer(parameters, configuration: configuration)
  }

  /// Patches of 2 pixels, and the vocabulary of ``configuration(_:scales:norm:sharedAdaLN:)``.
  static func tokenizer(
    _ phi: TokenizerConfiguration.PhiSharing = .partial(2), seed: UInt64 = 2
  ) -> Tokenizer {
    var configuration = TokenizerConfiguration()
    configuration.channels = 32
    configuration.multipliers = [1, 2]
    configuration.residualBlocks = 1
    configuration.vocabulary = 64
    configuration.codeChannels = 8
    configuration.phi = phi
    let parameters = Parameters(RandomSource(seed: seed), dtype: .float32, device: .cpu)
    return Tokenizer(parameters, configuration: configuration)
  }
}
