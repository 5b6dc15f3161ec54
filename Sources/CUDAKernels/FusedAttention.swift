import Torch

/// Keys and values of all scales so far, as VAR needs them: `[R, capacity, 2·C]`.
public struct KeyValueCache {
  let rows: Tensor
}

/// The caches of all layers of a model, side by side.
public struct KeyValueCaches {
  /// `[layers, R, capacity, 2·C]`
  public let rows: Tensor
  private let count: Int

  public init(layers: Int, sequences: Int, capacity: Int, width: Int, dtype: DType, device: Device)
  {
    count = layers
    rows = .empty([layers, sequences, capacity, 2 * width], dtype: dtype, device: device)
  }

  /// Each layer's own.
  public var layers: [KeyValueCache] {
    (0..<count).map { KeyValueCache(rows: rows.select(0, $0)) }
  }
}

/// How scores are made of queries and keys.
public enum AttentionScale {
  /// Both are divided by their lengths; float32 `[H]` is each head's scale.
  case unitVectors(Tensor)
  case constant(Double)

  var parts: (scales: Tensor?, constant: Double) {
    switch self {
    case .unitVectors(let scales): (scales, 1)
    case .constant(let value): (nil, value)
    }
  }
}

/// The form of attention that has all keys of a scale in shared memory at once.
struct AttentionAtOnce: Hashable {
  /// Whether it runs on Hopper's matrix units, by groups of four warps.
  let usesMatrixUnits: Bool
  /// Each has 16 queries in each round.
  let warps: Int
  let rounds: Int
  let keys: Int

  static let all = [
    AttentionAtOnce(warps: 4, rounds: 1, keys: 64), AttentionAtOnce(warps: 4, rounds: 1, keys: 256),
    AttentionAtOnce(warps: 8, rounds: 1, keys: 256),
    AttentionAtOnce(warps: 8, rounds: 2, keys: 256),
    AttentionAtOnce(usesMatrixUnits: true, warps: 4, rounds: 1, keys: 64),
    AttentionAtOnce(usesMatrixUnits: true, warps: 4, rounds: 1, keys: 256),
    AttentionAtOnce(usesMatrixUnits: true, warps: 8, rounds: 1, keys: 128),
    AttentionAtOnce(usesMatrixUnits: true, warps: 8, rounds: 2, keys: 256),
  ]

  private init(usesMatrixUnits: Bool = false, warps: Int, rounds: Int, keys: Int) {
    self.usesMatrixUnits = usesMatrixUnits
    (self.warps, self.rounds, self.keys) = (warps, rounds, keys)
  }

  /// Nil for more tokens than fit, for so few that heads should share a block, and where the matrix units are not faster.
  ///
  /// - Parameter isSpread: smaller blocks, where larger ones would leave multiprocessors free.
  init?(tokens: Int, isSpread: Bool, usesMatrixUnits: Bool) {
    func form(warps: Int, rounds: Int = 1, keys: Int) -> AttentionAtOnce {
      AttentionAtOnce(usesMatrixUnits: usesMatrixUnits, warps: warps, rounds: rounds, keys: keys)
    }
    switch tokens {
    case ...32 where isSpread && usesMatrixUnits: self = form(warps: 4, keys: 64)
    case 33...64: self = form(warps: 4, keys: 64)
    case 65...256 where isSpread: self = form(warps: 4, keys: 256)
    case 65...128: self = form(warps: 8, keys: usesMatrixUnits ? 128 : 256)
    case 129...256: self = form(warps: 8, rounds: 2, keys: 256)
    default: return nil
    }
  }

  var name: String {
    usesMatrixUnits
      ? "attention_wgmma_\(warps / 4)_\(rounds)_\(keys)"
      : "attention_at_once_\(warps)_\(rounds)_\(keys)"
  }

  var queries: Int { 16 * warps * rounds }

  /// Rows of queries, keys and values, on matrix units from a multiple of 1024 on, and a float for each key.
  var sharedBytes: Int {
    let rows = queries + 2 * keys
    return (usesMatrixUnits ? 1023 + 128 * rows : 144 * rows) + 4 * keys
  }
}

/// The form of attention to any number of keys whose keys and values come through rings in shared memory, on Hopper's matrix
/// units.
struct StreamedAttention: Hashable {
  /// A block has 64 queries for each of these.
  let queryGroups: Int
  /// So many share the keys of a block. Each pair of these groups has four warps.
  let keyGroups: Int
  /// Of a ring: as many as fit beside the other blocks of a multiprocessor.
  let mostStages: Int

  static let all = [
    StreamedAttention(queryGroups: 1, keyGroups: 1, mostStages: 4),
    StreamedAttention(queryGroups: 2, keyGroups: 1, mostStages: 5),
    StreamedAttention(queryGroups: 1, keyGroups: 2, mostStages: 3),
    StreamedAttention(queryGroups: 1, keyGroups: 4, mostStages: 3),
  ]

  private init(queryGroups: Int, keyGroups: Int, mostStages: Int) {
    (self.queryGroups, self.keyGroups) = (queryGroups, keyGroups)
    self.mostStages = mostStages
  }

  /// Nil for so few tokens that heads should share a block.
  ///
  /// Where blocks of 64 queries are so few that multiprocessors would have one or two groups of warps, whose products nothing
  /// hides, groups share their keys, if these are some more than the groups. Where they are many, queries share what is fetched.
  ///
  /// - Parameters:
  ///   - heads: those of all sequences.
  ///   - multiprocessors: those of the GPU.
  init?(tokens: Int, keys: Int, heads: Int, multiprocessors: Int) {
    if keys == tokens, tokens <= 32 { return nil }
    let blocks = heads * ((tokens + 63) / 64)
    let groups: (queries: Int, keys: Int) =
      switch (blocks, keys) {
      case (...multiprocessors, 193...): (1, 4)
      case (...(2 * multiprocessors), 257...): (1, 2)
      case (...(3 * multiprocessors), _): (1, 1)
      default: (tokens > 64 ? 2 : 1, 1)
      }
    self = Self.all.first { $0.queryGroups == groups.queries && $0.keyGroups == groups.keys }!
  }

  var name: String { "attention_streamed_\(queryGroups)_\(keyGroups)" }

  var queries: Int { 64 * queryGroups }

  var threads: Int { 128 * queryGroups * keyGroups }

  /// Of each ring: no more than it has tiles of 64 keys.
  func stages(keys: Int) -> Int {
    min(mostStages, ((keys + 63) / 64 + keyGroups - 1) / keyGroups)
  }

  /// Rows of queries, and the rings, from a multiple of 1024 on.
  func sharedBytes(stages: Int) -> Int { 1023 + 128 * queries + keyGroups * stages * 128 * 128 }

  var mostSharedBytes: Int { sharedBytes(stages: mostStages) }
}

/// Where keys and values lie: of each sequence's `rows` rows they are the first `count`.
struct KeysAndValues {
  let tensor: Tensor
  let count: Int
  let rows: Int
  let columns: Int
  let firstKey: Int
  let firstValue: Int
  /// Whether keys are unit vectors where queries are to be.
  let areCached: Bool

  /// Those inside a scale, of `[R, n, 3·C]`.
  init(of qkv: Tensor) {
    let (_, n, width) = qkv.shape3
    (tensor, count, rows, columns) = (qkv, n, n, width)
    (firstKey, firstValue, areCached) = (width / 3, width / 3 * 2, false)
  }

  init(of cache: KeyValueCache, count: Int) {
    let (_, capacity, width) = cache.rows.shape3
    (tensor, self.count, rows, columns) = (cache.rows, count, capacity, width)
    (firstKey, firstValue, areCached) = (0, width / 2, true)
  }
}

extension CUDAKernels {
  /// Attention inside a scale: `[R, n, 3·C]`, the projections of q, k and v, → `[R, n, C]`. Heads of 64.
  public func attention(
    _ qkv: Tensor, scale: AttentionScale
  ) -> Tensor {
    let (R, n, width) = qkv.shape3
    let C = width / 3
    let isSpread = R * (C / 64) * ((n + 127) / 128) < multiprocessors
    for usesMatrixUnits in [true, false] {
      if let form = AttentionAtOnce(
        tokens: n, isSpread: isSpread, usesMatrixUnits: usesMatrixUnits),
        let kernel = attentionsAtOnce[form]
      {
        return attention(form, kernel, qkv, scale)
      }
    }
    return attention(qkv, to: KeysAndValues(of: qkv), scale)
  }

  /// Attention to this scale and all before it; `cache` takes this scale's keys and values from row `start` on.
  public func attention(
    _ qkv: Tensor, scale: AttentionScale, cache: KeyValueCache, from start: Int
  ) -> Tensor {
    let (R, n, width) = qkv.shape3
    let C = width / 3
    let capacity = cache.rows.length(1)
    var isUnit = false
    if case .unitVectors = scale { isUnit = true }
    appendKeys(
      grid: (n, R, 1), threads: threads(for: C), overlaps: overlapsProduct(rows: R * n),
      [
        .tensor(qkv), .tensor(cache.rows), .int(C), .int(capacity), .int(start),
        .int(isUnit ? 1 : 0),
      ])
    return attention(qkv, to: KeysAndValues(of: cache, count: start + n), scale)
  }

  private func attention(
    _ form: AttentionAtOnce, _ kernel: CUDAKernel, _ qkv: Tensor, _ scale: AttentionScale
  ) -> Tensor {
    let (R, n, width) = qkv.shape3
    let C = width / 3
    let out = Tensor.empty([R, n, C], dtype: dtype, device: qkv.device)
    let (scales, constant) = scale.parts
    kernel(
      grid: ((n + form.queries - 1) / form.queries, C / 64, R), threads: 32 * form.warps,
      overlaps: overlapsProduct(rows: R * n),
      matrices: form.usesMatrixUnits
        ? [CUDAKernel.Matrix(qkv, count: R, rows: n, columns: width, boxRows: 64)] : [],
      (form.usesMatrixUnits ? [] : [.tensor(qkv)]) + [
        .tensor(out), .optional(scales), .float(constant), .int(n), .int(scales == nil ? 0 : 1),
      ])
    return out
  }

  private func attention(
    _ qkv: Tensor, to keys: KeysAndValues, _ scale: AttentionScale
  ) -> Tensor {
    let (R, n, width) = qkv.shape3
    let C = width / 3
    let heads = C / 64
    if let form = StreamedAttention(
      tokens: n, keys: keys.count, heads: R * heads, multiprocessors: multiprocessors),
      let kernel = streamedAttentions[form]
    {
      return attention(form, kernel, qkv, to: keys, scale)
    }
    let out = Tensor.empty([R, n, C], dtype: dtype, device: qkv.device)
    let (scales, constant) = scale.parts
    // Short scales share blocks; long ones have more queries for each key that is loaded.
    let together = keys.count > n || n > 32 ? 1 : n > 16 ? 2 : 4
    let (kernel, warps) = n > 64 ? (attentionOf8, 8) : (attentionOf4, 4)
    kernel(
      grid: ((n + 16 * warps - 1) / (16 * warps), (heads + together - 1) / together, R),
      threads: 32 * warps, overlaps: overlapsWhatIsBefore(qkv, keys),
      [
        .tensor(qkv), .tensor(keys.tensor, offset: keys.firstKey, dtype),
        .tensor(keys.tensor, offset: keys.firstValue, dtype), .tensor(out), .optional(scales),
        .float(constant), .int(n), .int(keys.count), .int(width), .int(keys.columns),
        .long(n * width), .long(keys.rows * keys.columns), .int(scales == nil ? 0 : 1),
        .int(scales == nil || keys.areCached ? 0 : 1), .int(heads), .int(together),
      ])
    return out
  }

  func attention(
    _ form: StreamedAttention, _ kernel: CUDAKernel, _ qkv: Tensor, to keys: KeysAndValues,
    _ scale: AttentionScale
  ) -> Tensor {
    let (R, n, width) = qkv.shape3
    let C = width / 3
    let out = Tensor.empty([R, n, C], dtype: dtype, device: qkv.device)
    let (scales, constant) = scale.parts
    let stages = form.stages(keys: keys.count)
    kernel(
      grid: ((n + form.queries - 1) / form.queries, C / 64, R), threads: form.threads,
      sharedBytes: form.sharedBytes(stages: stages), overlaps: overlapsWhatIsBefore(qkv, keys),
      matrices: [
        CUDAKernel.Matrix(qkv, count: R, rows: n, columns: width, boxRows: 64),
        CUDAKernel.Matrix(
          keys.tensor, count: R, rows: keys.count, columns: keys.columns, apart: keys.rows,
          boxRows: 64),
      ],
      [
        .tensor(out), .optional(scales), .float(constant), .int(n), .int(keys.count),
        .int(keys.firstKey), .int(keys.firstValue), .int(scales == nil ? 0 : 1),
        .int(scales == nil || keys.areCached ? 0 : 1), .int(stages),
      ])
    return out
  }

  /// What fills a cache lets what is behind it start.
  private func overlapsWhatIsBefore(_ qkv: Tensor, _ keys: KeysAndValues) -> Bool {
    keys.areCached || overlapsProduct(rows: qkv.length(0) * qkv.length(1))
  }
}
