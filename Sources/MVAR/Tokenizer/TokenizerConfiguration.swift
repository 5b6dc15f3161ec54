import Torch

/// The shape of a tokenizer, all of which a checkpoint's tensors tell.
public struct TokenizerConfiguration: Sendable, Hashable {
  /// How the φ convolutions are shared between scales (`models/quant.py`).
  public enum PhiSharing: Sendable, Hashable {
    /// Every scale has its own of this many.
    case none(Int)
    /// One for all scales.
    case full
    /// This many, each for a range of scales.
    case partial(Int)
  }

  /// Channels of the first level, `ch`.
  public var channels = 160
  /// The width of each level in units of ``channels``, from full resolution down.
  public var multipliers = [1, 1, 2, 2, 4]
  /// Residual blocks a level of the encoder; the decoder has one more.
  public var residualBlocks = 2
  /// Whether the lowest resolution attends to itself inside its level.
  public var levelAttention = true
  /// Whether the middle attends to itself.
  public var middleAttention = true
  /// Cvae, the length of a code vector.
  public var codeChannels = 32
  /// V, the number of code vectors.
  public var vocabulary = 4096
  public var phi = PhiSharing.partial(4)
  /// The side of the kernel of `quant_conv` and `post_quant_conv`.
  public var latentKernel = 3

  public init() {}

  /// Reads everything off the shapes of a checkpoint's tensors; what is missing keeps its default,
  /// and is reported when the modules ask for it.
  init(_ p: Parameters) {
    let encoder = p / "encoder"
    channels = encoder.shape(of: "conv_in.weight")?.first ?? channels
    let levels = (0...).prefix { encoder.has("down.\($0).block.0.conv1.weight") }
    if !levels.isEmpty {
      multipliers = levels.map { level in
        (encoder.shape(of: "down.\(level).block.0.conv1.weight")?.first ?? 0) / max(channels, 1)
      }
      residualBlocks = (0...).prefix { encoder.has("down.0.block.\($0).conv1.weight") }.count
      levelAttention = encoder.has("down.\(levels.count - 1).attn.0.norm.weight")
      middleAttention = encoder.has("mid.attn_1.norm.weight")
    }
    if let codebook = p.shape(of: "quantize.embedding.weight"), codebook.count == 2 {
      (vocabulary, codeChannels) = (codebook[0], codebook[1])
    }
    latentKernel = p.shape(of: "quant_conv.weight")?.last ?? latentKernel
    phi = Self.phiSharing(p / "quantize" / "quant_resi") ?? phi
  }

  private static func phiSharing(_ p: Parameters) -> PhiSharing? {
    if p.has("qresi.weight") { return .full }
    let partial = (0...).prefix { p.has("qresi_ls.\($0).weight") }.count
    if partial > 0 { return .partial(partial) }
    let own = (0...).prefix { p.has("\($0).weight") }.count
    return own > 0 ? PhiSharing.none(own) : nil
  }

  /// Pixels along one side of a token of the finest map.
  public var patchSize: Int { 1 << (multipliers.count - 1) }
}
