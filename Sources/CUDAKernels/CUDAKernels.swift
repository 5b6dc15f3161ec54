import Synchronization
import Torch

// R sequences (images, twice with guidance), B images, n tokens, C width, H heads, D inner width, V vocabulary.

/// The fused kernels of generation, compiled for the GPU at hand and one 16-bit type.
///
/// Each does what a few lines of the readable path do, in one pass over memory, with all sums in float32. They work on
/// contiguous tensors of ``dtype`` unless something else is said, on the current GPU, and report errors to the enclosing
/// `withTorchErrors`.
public final class CUDAKernels: @unchecked Sendable {
  public let dtype: DType
  let modulatedNorm: CUDAKernel
  let attentionOf4: CUDAKernel
  let attentionOf8: CUDAKernel
  let attentionsAtOnce: [AttentionAtOnce: CUDAKernel]
  let appendKeys: CUDAKernel
  let embedTokens: CUDAKernel
  let mambaShared: CUDAKernel
  let mambaScan: CUDAKernel
  let scansAtOnce: [ScanAtOnce: CUDAKernel]
  let normStatistics: CUDAKernel
  let normFactors: CUDAKernel
  let normSiLU: CUDAKernel
  let normMoments: CUDAKernel
  let normSiLUGradientSums: CUDAKernel
  let normSiLUGradientTotals: CUDAKernel
  let normSiLUGradient: CUDAKernel
  let fewRows: [FewRowsForm: CUDAKernel]
  let program: CUDAProgram
  /// What a block may have, in bytes.
  let largestSharedMemory: Int
  let computeCapability: Int
  let geluTo8: CUDAKernel
  let tiled = Mutex<[TiledForm.Compiled: Result<CUDAKernel, any Error>]>([:])
  let multiprocessors: Int
  /// Set before the kernels are used, if at all.
  var choices = KernelChoices.plain
  private let sized = Mutex<[SizedKernel: CUDAKernel]>([:])

  private static let programs = Mutex<[DType: CUDAKernels]>([:])

  /// The types that the kernels exist for.
  public static func supports(_ dtype: DType) -> Bool { dtype == .bfloat16 || dtype == .float16 }

  /// The kernels for a type; compiled when first asked for.
  ///
  /// - Throws: ``TorchError`` where there is no GPU, or its compiler is missing.
  public static func shared(_ dtype: DType) throws -> CUDAKernels {
    precondition(supports(dtype))
    return try programs.withLock { programs in
      if let known = programs[dtype] { return known }
      let kernels = try CUDAKernels(dtype)
      programs[dtype] = kernels
      return kernels
    }
  }

  private init(_ dtype: DType) throws {
    self.dtype = dtype
    let properties = try CUDA.properties()
    let capability = properties.computeCapability
    (computeCapability, multiprocessors) = (capability, properties.multiprocessors)
    // CUDA's programming guide, table of technical specifications.
    largestSharedMemory = (capability >= 90 ? 227 : capability % 10 == 0 ? 163 : 99) << 10
    program = try CUDAProgram(
      source: Self.source, name: "mvar.cu",
      definitions: ["HALF_IS_BFLOAT16": dtype == .bfloat16 ? "1" : "0"])
    modulatedNorm = try program.kernel("modulated_norm")
    // 16 rows of queries a warp, 64 of keys and of values.
    attentionOf4 = try program.kernel("attention_4", sharedBytes: (64 + 128) * 144)
    attentionOf8 = try program.kernel("attention_8", sharedBytes: (128 + 128) * 144)
    let program = program
    attentionsAtOnce = try Dictionary(
      uniqueKeysWithValues: AttentionAtOnce.all.map {
        ($0, try program.kernel($0.name, sharedBytes: $0.sharedBytes))
      })
    appendKeys = try program.kernel("append_keys")
    embedTokens = try program.kernel("embed_tokens")
    geluTo8 = try program.kernel("gelu_to_8")
    mambaShared = try program.kernel("mamba_shared")
    mambaScan = try program.kernel("mamba_scan")
    // 16 floats for each of at most 320 threads.
    normStatistics = try program.kernel("norm_statistics", sharedBytes: 16 * 4 * 320)
    scansAtOnce = try Dictionary(
      uniqueKeysWithValues: ScanAtOnce.all.map {
        ($0, try program.kernel($0.name, sharedBytes: $0.sharedBytes))
      })
    fewRows = try Dictionary(
      uniqueKeysWithValues: FewRowsForm.all.map {
        ($0, try program.kernel($0.name, sharedBytes: $0.sharedBytes))
      })
    normFactors = try program.kernel("norm_factors")
    normSiLU = try program.kernel("norm_silu")
    normMoments = try program.kernel("norm_moments")
    normSiLUGradientSums = try program.kernel(
      "norm_silu_gradient_sums", sharedBytes: 16 * 4 * 320)
    // Two floats for each of at most 2560 channels.
    normSiLUGradientTotals = try program.kernel(
      "norm_silu_gradient_totals", sharedBytes: 2 * 4 * 2560)
    normSiLUGradient = try program.kernel("norm_silu_gradient")
  }

  /// The text of all kernels.
  public static var source: String {
    [
      PackageResources.common_cu, PackageResources.modulated_norm_cu,
      PackageResources.attention_cu, PackageResources.attention_at_once_cu,
      PackageResources.mamba_scan_cu, PackageResources.mamba_scan_at_once_cu,
      PackageResources.token_draw_cu, PackageResources.group_norm_cu,
      PackageResources.group_norm_gradient_cu, PackageResources.linear_few_rows_cu,
      PackageResources.token_map_cu, PackageResources.embed_tokens_cu,
      PackageResources.last_convolution_cu,
    ].map { String(decoding: $0, as: UTF8.self) }.joined(separator: "\n")
  }

  private struct SizedKernel: Hashable {
    let name: String
    let sharedBytes: Int
  }

  /// A kernel whose shared memory depends on what it works on.
  func kernel(_ name: String, sharedBytes: Int) throws -> CUDAKernel {
    try sized.withLock { kernels in
      let key = SizedKernel(name: name, sharedBytes: sharedBytes)
      if let known = kernels[key] { return known }
      let kernel = try program.kernel(name, sharedBytes: sharedBytes)
      kernels[key] = kernel
      return kernel
    }
  }
}

/// Weights that later kernels read: asked for by a kernel that leaves memory idle, so that they are in the cache by then.
public struct WeightsAhead {
  fileprivate let tensors: [Tensor]

  public static var none: WeightsAhead { WeightsAhead(tensors: []) }

  /// The address and the bytes of as many weights as the kernel takes.
  func arguments(_ count: Int) -> [CUDAKernel.Argument] {
    precondition(tensors.count <= count)
    return (0..<count).flatMap { index -> [CUDAKernel.Argument] in
      let weight = index < tensors.count ? tensors[index] : nil
      let bytes = weight.map { $0.count * $0.dtype.byteCount } ?? 0
      return [.optional(weight), .long(bytes)]
    }
  }
}

extension CUDAKernels {
  /// - Parameters:
  ///   - weights: in the order in which they are read.
  ///   - rows: of the products that read them.
  public func ahead(_ weights: [Tensor], rows: Int) -> WeightsAhead {
    WeightsAhead(tensors: choices.rowsAhead.contains(rows) ? weights : [])
  }
}

/// Which kernel does what, as measured on an H100. Others than these are for comparing.
struct KernelChoices {
  /// Products of so many rows are done by `linear_tiles`. Fewer rows have a kernel of their own, and of more rows the
  /// products themselves take longest, which libtorch does better.
  var tiledRows = FewRowsForm.largestRows + 1..<225
  /// Blocks that share K of such a product. Only from Hopper on can blocks read each other's memory.
  var tiledRanks = 2
  /// For so many rows weights are asked for ahead of their product. The kernel for fewer rows does so by itself, and more
  /// rows keep memory busy.
  var rowsAhead = FewRowsForm.largestRows + 1..<1025
  /// For so many blocks to a multiprocessor, heads of sequences, a scale is scanned at once.
  var scannedAtOnce = 1
  /// Whether all keys of a scale lie in shared memory at once, where they fit.
  var attendsAtOnce = true

  /// None of them: what runs. All of them together took 16.0 ms for a picture of d16 and 30.5 of d24 where none took 15.1
  /// and 26.5 (one H100, batch 1), which by the times of the scales is the tiles' doing; the others wait to be measured
  /// one by one (`MVAR_TIMINGS=16 swift test --filter Timings`).
  static var plain: KernelChoices {
    KernelChoices(tiledRows: 0..<0, rowsAhead: 0..<0, scannedAtOnce: 0, attendsAtOnce: false)
  }
}

/// Threads for `count` numbers, eight to each, in whole warps.
func threads(for count: Int) -> Int { (count / 8 + 31) / 32 * 32 }
