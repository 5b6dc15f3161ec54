import Torch

/// The shape of a transformer, all of which a checkpoint's tensors tell.
public struct TransformerConfiguration: Sendable, Hashable {
  /// What carries the coarser scales into the finer ones.
  public enum Kind: String, Sendable, Hashable, CaseIterable {
    /// Attention inside a scale, Mamba-2 between them (arXiv 2411.10433).
    case mvar = "M-VAR"
    /// Attention to all scales so far (arXiv 2404.02905).
    case `var` = "VAR"
  }

  /// How attention is normalised.
  public enum AttentionNorm: Sendable, Hashable {
    /// Unit queries and keys, with a learnt scale for each head.
    case l2
    /// Products scaled by 0.25 / √head size.
    case scaled
  }

  public static let headSize = 64

  public var kind = Kind.mvar
  public var depth = 16
  /// C
  public var width = 1024
  public var classes = 1000
  /// What the classes are called, where the checkpoint's file notes it.
  public var classNames: [String]?
  /// V
  public var vocabulary = 4096
  /// Cvae
  public var codeChannels = 32
  /// The inner width of the feed-forward layers.
  public var hidden = 4096
  public var schedule = ScaleSchedule.px256
  public var attentionNorm = AttentionNorm.l2
  /// Whether all blocks share one modulation network.
  public var sharedAdaLN = false

  public var heads: Int { width / Self.headSize }

  /// The published shape of a depth: width 64 · depth.
  public init(kind: Kind = .mvar, depth: Int = 16, schedule: ScaleSchedule = .px256) {
    self.kind = kind
    self.depth = depth
    self.schedule = schedule
    width = Self.headSize * depth
    hidden = 4 * width
  }

  /// Reads everything off the shapes of a checkpoint's tensors, and the schedule off `lvl_1L`.
  ///
  /// - Throws: ``MVARError`` where the tensors are of no transformer that this library knows.
  init(_ p: Parameters) throws {
    func shape(_ name: String, rank: Int) throws(MVARError) -> [Int] {
      guard let shape = p.shape(of: name), shape.count == rank else {
        throw MVARError(
          .checkpoint, "missing or misshapen: \(name), which every M-VAR and VAR model has")
      }
      return shape
    }
    let embedding = try shape("word_embed.weight", rank: 2)
    (width, codeChannels) = (embedding[0], embedding[1])
    guard width > 0, width % Self.headSize == 0 else {
      throw MVARError(.checkpoint, "its width of \(width) is no multiple of \(Self.headSize)")
    }
    classes = try shape("class_emb.weight", rank: 2)[0] - 1
    vocabulary = try shape("head.weight", rank: 2)[0]
    hidden = try shape("blocks.0.ffn.fc1.weight", rank: 2)[0]
    // By two names each, so that one tensor that is missing is reported as such.
    func has(_ block: Int, _ names: String...) -> Bool {
      names.contains { p.has("blocks.\(block).\($0)") }
    }
    depth = (0...).prefix { has($0, "attn.mat_qkv.weight", "attn.proj.weight") }.count
    kind = has(0, "mamba.in_proj.weight", "mamba.out_proj.weight") ? .mvar : .var
    attentionNorm = p.has("blocks.0.attn.scale_mul_1H11") ? .l2 : .scaled
    sharedAdaLN = p.has("blocks.0.ada_gss")
    schedule = try Self.schedule(p, tokens: try shape("lvl_1L", rank: 2)[1])
  }

  private static func schedule(_ p: Parameters, tokens: Int) throws -> ScaleSchedule {
    let levels = try p.tensor("lvl_1L", 1, tokens, dtype: .int64).elements(as: Int.self)
    guard zip(levels, levels.dropFirst()).allSatisfy({ $1 - $0 == 0 || $1 - $0 == 1 }) else {
      throw MVARError(.checkpoint, "lvl_1L does not count its scales upwards")
    }
    let counts = Dictionary(grouping: levels, by: { $0 }).sorted { $0.key < $1.key }.map(
      \.value.count)
    let sides = counts.map { Int(Double($0).squareRoot().rounded()) }
    guard zip(sides, counts).allSatisfy({ $0 * $0 == $1 }) else {
      throw MVARError(.checkpoint, "its scales have \(counts) tokens, which are not all squares")
    }
    return try ScaleSchedule(squares: sides)
  }
}

extension TransformerConfiguration {
  /// Sublayers of a block: attention, Mamba-2 in M-VAR, feed-forward.
  public var sublayers: Int { kind == .mvar ? 3 : 2 }

  /// The tensors of a published checkpoint that are no parameters, which the reference's module asks
  /// for when it loads one.
  public func buffers() -> [(name: String, tensor: Tensor)] {
    let ranges = schedule.ranges
    let L = schedule.tokenCount
    let level = ranges.enumerated().flatMap { Array(repeating: $0, count: $1.count) }
    let mask = Tensor.full([L, L], -.infinity)
    for range in ranges {
      let seen = kind == .mvar ? range : 0..<range.upperBound
      mask.slice(0, range).slice(1, seen).fillInPlace(0)
    }
    let blocks = (0..<depth).flatMap { index -> [(name: String, tensor: Tensor)] in
      let bias = ("blocks.\(index).attn.zero_k_bias", Tensor.zeros([width]))
      guard kind == .mvar else { return [bias] }
      let squares = Tensor.of(schedule.sizes.map(\.count)).to(.int32)
      return [bias, ("blocks.\(index).attn.patch_nums", squares)]
    }
    return [
      ("lvl_1L", .of(level, shape: [1, L])),
      ("attn_bias_for_masking", mask.reshape(1, 1, L, L)),
    ] + blocks
  }
}
