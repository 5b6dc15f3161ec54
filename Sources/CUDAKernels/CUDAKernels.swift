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
  let attention: CUDAKernel
  let appendKeys: CUDAKernel
  let mambaScan: CUDAKernel
  let normStatistics: CUDAKernel
  let normFactors: CUDAKernel
  let normSiLU: CUDAKernel
  let fewRows: [FewRowsForm: CUDAKernel]
  let program: CUDAProgram
  private let draws = Mutex<[Int: CUDAKernel]>([:])

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
    program = try CUDAProgram(
      source: Self.source, name: "mvar.cu",
      definitions: ["HALF_IS_BFLOAT16": dtype == .bfloat16 ? "1" : "0"])
    modulatedNorm = try program.kernel("modulated_norm")
    attention = try program.kernel("attention")
    appendKeys = try program.kernel("append_keys")
    mambaScan = try program.kernel("mamba_scan")
    // 16 floats for each of at most 320 threads.
    normStatistics = try program.kernel("norm_statistics", sharedBytes: 16 * 4 * 320)
    let program = program
    fewRows = try Dictionary(
      uniqueKeysWithValues: FewRowsForm.all.map {
        ($0, try program.kernel($0.name, sharedBytes: $0.sharedBytes))
      })
    normFactors = try program.kernel("norm_factors")
    normSiLU = try program.kernel("norm_silu")
  }

  /// The text of all kernels.
  public static var source: String {
    [
      PackageResources.common_cu, PackageResources.modulated_norm_cu,
      PackageResources.attention_cu, PackageResources.mamba_scan_cu, PackageResources.token_draw_cu,
      PackageResources.group_norm_cu, PackageResources.linear_few_rows_cu,
    ].map { String(decoding: $0, as: UTF8.self) }.joined(separator: "\n")
  }

  /// The draw keeps the keys of its `vocabulary` in shared memory.
  func tokenDraw(vocabulary: Int) throws -> CUDAKernel {
    try draws.withLock { draws in
      if let known = draws[vocabulary] { return known }
      let kernel = try program.kernel("token_draw", sharedBytes: 4 * vocabulary)
      draws[vocabulary] = kernel
      return kernel
    }
  }
}

/// Threads for `count` numbers, eight to each, in whole warps.
func threads(for count: Int) -> Int { (count / 8 + 31) / 32 * 32 }
