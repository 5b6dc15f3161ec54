import Torch

/// Keys and values of all scales so far, as VAR needs them: `[R, capacity, 2·C]`.
public struct KeyValueCache {
  let rows: Tensor
}

/// The caches of all layers of a model, side by side.
public struct KeyValueCaches {
  /// `[layers, R, capacity, 2·C]`
  public let rows: Tensor

  public init(layers: Int, sequences: Int, capacity: Int, width: Int, dtype: DType, device: Device)
  {
    rows = .empty([layers, sequences, capacity, 2 * width], dtype: dtype, device: device)
  }

  public subscript(layer: Int) -> KeyValueCache { KeyValueCache(rows: rows.select(0, layer)) }
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
    return attention(
      qkv, keys: .tensor(qkv, offset: C, dtype), values: .tensor(qkv, offset: 2 * C, dtype), R, n,
      C, keyCount: n, keyStride: width, keyBatch: n * width, areCached: false, scale)
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
    return attention(
      qkv, keys: .tensor(cache.rows), values: .tensor(cache.rows, offset: C, dtype), R, n, C,
      keyCount: start + n, keyStride: 2 * C, keyBatch: capacity * 2 * C, areCached: true, scale)
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

  /// - Parameter areCached: whether keys and values are those of a cache, whose keys are unit vectors where queries are to be.
  private func attention(
    _ qkv: Tensor, keys: CUDAKernel.Argument, values: CUDAKernel.Argument, _ R: Int, _ n: Int,
    _ C: Int, keyCount: Int, keyStride: Int, keyBatch: Int, areCached: Bool,
    _ scale: AttentionScale
  ) -> Tensor {
    let out = Tensor.empty([R, n, C], dtype: dtype, device: qkv.device)
    let (scales, constant) = scale.parts
    // Short scales share blocks; long ones have more queries for each key that is loaded.
    let together = keyCount > n || n > 32 ? 1 : n > 16 ? 2 : 4
    let (kernel, warps) = n > 64 ? (attentionOf8, 8) : (attentionOf4, 4)
    let heads = C / 64
    kernel(
      grid: ((n + 16 * warps - 1) / (16 * warps), (heads + together - 1) / together, R),
      threads: 32 * warps, overlaps: areCached || overlapsProduct(rows: R * n),
      [
        .tensor(qkv), keys, values, .tensor(out), .optional(scales), .float(constant), .int(n),
        .int(keyCount), .int(3 * C), .int(keyStride), .long(n * 3 * C), .long(keyBatch),
        .int(scales == nil ? 0 : 1), .int(scales == nil || areCached ? 0 : 1), .int(heads),
        .int(together),
      ])
    return out
  }
}
