import Torch

/// The small weights in the middle of a Mamba-2 layer, all float32.
public struct MambaScanWeights {
  let convWeight: Tensor  // [D + 128, 4]
  let convBias: Tensor  // [D + 128]
  let dtBias: Tensor  // [H]
  let a: Tensor  // [H], negative
  let d: Tensor  // [H]

  public init(convWeight: Tensor, convBias: Tensor, dtBias: Tensor, a: Tensor, d: Tensor) {
    (self.convWeight, self.convBias, self.dtBias) = (convWeight, convBias, dtBias)
    (self.a, self.d) = (a, d)
  }
}

/// The form of the scan for as few sequences as leave multiprocessors free: many warps share a whole scale of each.
enum ScanOfFew: String, CaseIterable {
  case upTo16 = "mamba_scan_short_of_16"
  case upTo64 = "mamba_scan_short"
  case upTo128 = "mamba_scan_at_once_8"
  case upTo256 = "mamba_scan_at_once_16"
  /// Two blocks share the tokens.
  case upTo256InPairs = "mamba_scan_of_two_blocks"
  /// The same for two heads each.
  case upTo256OfTwoHeads = "mamba_scan_of_two_heads"

  /// Nil for more tokens than one block, or a pair, can have.
  ///
  /// - Parameters:
  ///   - pairs: whether the GPU has clusters of blocks.
  ///   - twoHeads: whether blocks have two heads each where they can.
  init?(tokens: Int, pairs: Bool, twoHeads: Bool) {
    switch tokens {
    case ...16: self = .upTo16
    case ...64: self = .upTo64
    case ...256 where pairs: self = twoHeads ? .upTo256OfTwoHeads : .upTo256InPairs
    case ...128: self = .upTo128
    case ...256: self = .upTo256
    default: return nil
    }
  }

  /// Of each head; they have 16 tokens each, but in shorter scales.
  private var warps: Int {
    switch self {
    case .upTo16, .upTo64, .upTo256: 16
    case .upTo128, .upTo256InPairs, .upTo256OfTwoHeads: 8
    }
  }
  private var heads: Int { self == .upTo256OfTwoHeads ? 2 : 1 }
  var isOfPairs: Bool { self == .upTo256InPairs || self == .upTo256OfTwoHeads }

  var threads: Int { 32 * warps * heads }

  /// How many blocks there are of all heads together.
  func blocks(heads count: Int) -> Int { self == .upTo256InPairs ? 2 * count : count }

  /// What is asked for at launch (`ScanMemory`): rows of B and C; and for each head rows of x, of the state and of y, and four
  /// floats a token.
  var sharedBytes: Int {
    if self == .upTo16 || self == .upTo64 { return 0 }
    let tokens = 16 * warps
    return 2 * tokens * 144 + heads * ((2 * tokens + 64) * 144 + 16 * tokens + 64)
  }
}

extension CUDAKernels {
  /// Convolution, SiLU, selective scan and gate of one scale.
  ///
  /// - Parameters:
  ///   - projected: `[R, n, 2·D + 128 + H]`, [z, x, B, C, dt] as `in_proj` gives them.
  ///   - scale: the scale's number; at 0 the state holds nothing yet.
  /// - Returns: `[R, n, D]`, still to be divided by the root of its mean square; and float32 `[R, n, H]`, the sums of
  ///   squares over each head.
  public func mambaScan(
    _ projected: Tensor, _ weights: MambaScanWeights, state: MambaScanState, scale: Int,
    keepsState: Bool
  ) -> (y: Tensor, squares: Tensor) {
    let (R, n, _) = projected.shape3
    let heads = state.ssm.length(1)
    let y = Tensor.empty([R, n, 64 * heads], dtype: dtype, device: projected.device)
    let squares = Tensor.empty([R, n, heads], device: projected.device)
    let before = CUDAKernel.Argument.optional(scale > 0 ? state.conv[scale % 2] : nil)
    let after = CUDAKernel.Argument.optional(keepsState ? state.conv[(scale + 1) % 2] : nil)
    if let (kernel, threads, blocks) = wholeScaleScan(sequences: R, heads: heads, tokens: n) {
      kernel(
        grid: (blocks, R, 1), threads: threads,
        overlaps: overlapsProduct(rows: R * n),
        [
          .tensor(projected), .tensor(y), .tensor(squares), .tensor(weights.convWeight),
          .tensor(weights.convBias), .tensor(weights.dtBias), .tensor(weights.a),
          .tensor(weights.d), before, after, .tensor(state.ssm), .int(n),
          .int(scale > 0 ? 1 : 0), .int(keepsState ? 1 : 0),
        ])
      return (y, squares)
    }
    let (makeShared, scan) = mambaScanOnMatrixUnits ?? (mambaShared, mambaScan)
    // On matrix units whole chunks of 64 tokens are read.
    let rows = mambaScanOnMatrixUnits == nil ? n : (n + 63) / 64 * 64
    let shared = Tensor.empty([R, rows, 128], dtype: dtype, device: projected.device)
    makeShared(
      grid: ((rows + 31) / 32, R, 1), threads: 128, overlaps: overlapsProduct(rows: R * n),
      [
        .tensor(projected), .tensor(shared), .tensor(weights.convWeight),
        .tensor(weights.convBias), before, after, .int(n), .int(heads),
      ])
    scan(
      grid: (heads, R, 1), threads: 128, overlaps: true,
      [
        .tensor(projected), .tensor(shared), .tensor(y), .tensor(squares),
        .tensor(weights.convWeight),
        .tensor(weights.convBias), .tensor(weights.dtBias), .tensor(weights.a), .tensor(weights.d),
        before, after, .tensor(state.ssm), .int(n), .int(scale > 0 ? 1 : 0),
        .int(keepsState ? 1 : 0),
      ])
    return (y, squares)
  }

  /// The scan that has all tokens of a head at once, its threads and its blocks; nil where chunks are better.
  private func wholeScaleScan(sequences R: Int, heads: Int, tokens n: Int) -> (
    kernel: CUDAKernel, threads: Int, blocks: Int
  )? {
    // Few sequences leave multiprocessors free, and more warps share each of them. Two heads share a block where some
    // multiprocessors would have two blocks anyway.
    let twoHeads = heads % 2 == 0 && 2 * R * heads > multiprocessors
    if R * heads <= multiprocessors,
      let form = ScanOfFew(tokens: n, pairs: hasClusters, twoHeads: twoHeads),
      let kernel = scansOfFew[form]
    {
      return (kernel, form.threads, form.blocks(heads: heads))
    }
    return n <= 16 ? (mambaScanOf16, 128, heads) : nil
  }
}
