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
  let modulatedNormOfSum: CUDAKernel
  let modulatedNormOfParts: CUDAKernel
  let modulatedNormOfMany: CUDAKernel
  let attentionOf4: CUDAKernel
  let attentionOf8: CUDAKernel
  let attentionsAtOnce: [AttentionAtOnce: CUDAKernel]
  /// None but on Hopper.
  let streamedAttentions: [StreamedAttention: CUDAKernel]
  let appendKeys: CUDAKernel
  let embedTokens: CUDAKernel
  let mambaShared: CUDAKernel
  let mambaScan: CUDAKernel
  /// Nil but on Hopper.
  let mambaScanOnMatrixUnits: (shared: CUDAKernel, scan: CUDAKernel)?
  let mambaScanOf16: CUDAKernel
  let mambaFirstToken: CUDAKernel
  let scansOfFew: [ScanOfFew: CUDAKernel]
  let normStatistics: CUDAKernel
  let normStatisticsOfParts: CUDAKernel
  let normFactors: CUDAKernel
  let normSiLU: CUDAKernel
  let normMoments: CUDAKernel
  let normSiLUGradientSums: CUDAKernel
  let normSiLUGradientTotals: CUDAKernel
  let normSiLUGradient: CUDAKernel
  let fewRows: [String: CUDAKernel]
  /// By ``MatrixUnitsForm/tokenCounts``; none but on Hopper.
  let productsOnMatrixUnits: [Int: CUDAKernel]
  /// By ``attentionProjectionTokens``; none but on Hopper.
  let attentionProjections: [Int: CUDAKernel]
  /// None but on Hopper.
  let convolutions: [ConvolutionForm: (plain: CUDAKernel, upsampling: CUDAKernel)]
  let program: CUDAProgram
  /// What a block may have, in bytes.
  let largestSharedMemory: Int
  let computeCapability: Int
  /// Whether blocks can read each other's shared memory.
  let hasClusters: Bool
  let geluTo8: CUDAKernel
  let multiprocessors: Int
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

  /// - Parameter largestSharedMemory: less than the GPU has, no clusters and no streamed attention, to see what smaller ones
  ///   do.
  init(_ dtype: DType, largestSharedMemory: Int? = nil) throws {
    self.dtype = dtype
    let properties = try CUDA.properties()
    let capability = properties.computeCapability
    (computeCapability, multiprocessors) = (capability, properties.multiprocessors)
    hasClusters = capability >= 90 && largestSharedMemory == nil
    let hasClusters = hasClusters
    self.largestSharedMemory = largestSharedMemory ?? properties.sharedMemoryPerBlock
    let limit = self.largestSharedMemory
    program = try CUDAProgram(
      source: Self.source, name: "mvar.cu",
      definitions: ["HALF_IS_BFLOAT16": dtype == .bfloat16 ? "1" : "0"])
    modulatedNormOfSum = try program.kernel("modulated_norm_of_sum")
    modulatedNormOfParts = try program.kernel("modulated_norm_of_parts")
    modulatedNormOfMany = try program.kernel("modulated_norm_of_many")
    // 16 rows of queries a warp, 64 of keys and of values.
    attentionOf4 = try program.kernel("attention_4", sharedBytes: (64 + 128) * 144)
    attentionOf8 = try program.kernel("attention_8", sharedBytes: (128 + 128) * 144)
    let program = program
    attentionsAtOnce = try Dictionary(
      uniqueKeysWithValues: AttentionAtOnce.all.filter {
        $0.sharedBytes <= limit && (capability == 90 || !$0.usesMatrixUnits)
      }.map { ($0, try program.kernel($0.name, sharedBytes: $0.sharedBytes)) })
    streamedAttentions = try Dictionary(
      uniqueKeysWithValues: StreamedAttention.all.filter {
        capability == 90 && largestSharedMemory == nil && $0.mostSharedBytes <= limit
      }.map { ($0, try program.kernel($0.name, sharedBytes: $0.mostSharedBytes)) })
    appendKeys = try program.kernel("append_keys")
    embedTokens = try program.kernel("embed_tokens")
    geluTo8 = try program.kernel("gelu_to_8")
    mambaShared = try program.kernel("mamba_shared")
    // 64 rows of x, B, C, the state and the gates, and 67 of what is convolved.
    mambaScan = try program.kernel("mamba_scan", sharedBytes: 5 * 64 * 144 + 67 * 128)
    // Planes of x, the state, B and C; the gates; and 67 rows of what is convolved.
    let sharedBytes = 2 * 8 * 65 * 16 + 2 * 8 * 64 * 16 + 64 * 144 + 67 * 128
    mambaScanOnMatrixUnits =
      capability == 90
      ? (
        try program.kernel("mamba_shared_in_planes"),
        try program.kernel("mamba_scan_wgmma", sharedBytes: sharedBytes)
      ) : nil
    mambaScanOf16 = try program.kernel("mamba_scan_of_16")
    mambaFirstToken = try program.kernel("mamba_first_token")
    // 16 floats for each of at most 320 threads.
    normStatistics = try program.kernel("norm_statistics", sharedBytes: 16 * 4 * 320)
    normStatisticsOfParts = try program.kernel(
      "norm_statistics_of_parts", sharedBytes: 16 * 4 * 320)
    scansOfFew = try Dictionary(
      uniqueKeysWithValues: ScanOfFew.allCases.filter {
        $0.sharedBytes <= limit && (!$0.isOfPairs || hasClusters)
      }.map {
        ($0, try program.kernel($0.rawValue, sharedBytes: $0.sharedBytes))
      })
    fewRows = try Dictionary(
      uniqueKeysWithValues: FewRowsForm.names.map {
        ($0, try program.kernel($0, sharedBytes: FewRowsForm.mostSharedBytes(of: limit)))
      })
    let multiplies = capability == 90 && MatrixUnitsForm.mostSharedBytes <= limit
    productsOnMatrixUnits = try Dictionary(
      uniqueKeysWithValues: (multiplies ? MatrixUnitsForm.tokenCounts : []).map { tokens in
        let name = MatrixUnitsForm.name(tokens: tokens)
        return (tokens, try program.kernel(name, sharedBytes: MatrixUnitsForm.mostSharedBytes))
      })
    attentionProjections = try Dictionary(
      uniqueKeysWithValues: (multiplies ? Self.attentionProjectionTokens : []).map { tokens in
        let name = "attention_projection_\(tokens)"
        return (tokens, try program.kernel(name, sharedBytes: MatrixUnitsForm.mostSharedBytes))
      })
    convolutions = try Dictionary(
      uniqueKeysWithValues: ConvolutionForm.allCases.filter {
        capability == 90 && $0.sharedBytes <= limit
      }.map { ($0, try $0.kernels(program)) })
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
      PackageResources.common_cu, PackageResources.gate_cu, PackageResources.matrix_units_cu,
      PackageResources.modulated_norm_cu,
      PackageResources.attention_cu, PackageResources.attention_at_once_cu,
      PackageResources.attention_wgmma_cu, PackageResources.attention_streamed_cu,
      PackageResources.mamba_scan_cu, PackageResources.mamba_scan_wgmma_cu,
      PackageResources.mamba_scan_short_cu,
      PackageResources.mamba_scan_at_once_cu, PackageResources.mamba_scan_of_16_cu,
      PackageResources.mamba_first_token_cu, PackageResources.token_draw_cu,
      PackageResources.group_norm_cu,
      PackageResources.group_norm_gradient_cu, PackageResources.linear_few_rows_cu,
      PackageResources.linear_wgmma_cu, PackageResources.attention_projection_cu,
      PackageResources.token_map_cu, PackageResources.embed_tokens_cu,
      PackageResources.last_convolution_cu, PackageResources.convolution_cu,
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

/// Threads for `count` numbers, eight to each, in whole warps.
func threads(for count: Int) -> Int { (count / 8 + 31) / 32 * 32 }
