import Synchronization
import Torch

// R sequences, n tokens of each, T tokens of all, C width, H heads, D inner width of a Mamba-2 layer, V vocabulary.

/// The fused kernels of training, compiled for the GPU at hand and one 16-bit type: forward passes that keep little, and
/// their gradients.
///
/// As in ``CUDAKernels``, all sums are made in float32; always in the same order, so that the same step gives the same
/// bits. Nothing here is recorded for gradients.
public final class TrainingKernels: @unchecked Sendable {
  public let dtype: DType
  private let program: CUDAProgram
  private let kernels: [String: CUDAKernel]

  private static let programs = Mutex<[DType: Result<TrainingKernels, any Error>]>([:])

  /// The kernels for a type; compiled when first asked for.
  ///
  /// - Throws: ``TorchError`` where there is no GPU, or its compiler is missing; the same one when asked again.
  public static func shared(_ dtype: DType) throws -> TrainingKernels {
    precondition(CUDAKernels.supports(dtype))
    return try programs.withLock { programs in
      if let known = programs[dtype] { return try known.get() }
      let result = Result { try TrainingKernels(dtype) }
      programs[dtype] = result
      return try result.get()
    }
  }

  private init(_ dtype: DType) throws {
    self.dtype = dtype
    let program = try CUDAProgram(
      source: Self.source, name: "mvar-training.cu",
      definitions: ["HALF_IS_BFLOAT16": dtype == .bfloat16 ? "1" : "0", "SILU_IS_EXACT": "1"])
    self.program = program
    kernels = try Dictionary(
      uniqueKeysWithValues: Self.names.map {
        ($0, try program.kernel($0, sharedBytes: $0 == "ssd_backward" ? 8 * 64 * 72 * 2 : 0))
      })
  }

  private static let names = [
    "residual_norm", "residual_norm_backward", "gated_norm", "gated_norm_backward", "ssd_shared",
    "ssd_forward", "ssd_backward", "ssd_sum_heads", "conv_backward", "unit_heads",
    "unit_heads_backward", "cross_entropy", "cross_entropy_backward", "gelu_backward",
  ]

  /// The text of all kernels.
  public static var source: String {
    [
      PackageResources.common_cu, PackageResources.ssd_training_cu,
      PackageResources.modulated_norm_gradient_cu, PackageResources.attention_training_cu,
      PackageResources.training_losses_cu,
    ].map { String(decoding: $0, as: UTF8.self) }.joined(separator: "\n")
  }

  func launch(
    _ name: String, grid: (Int, Int, Int), threads: Int, _ arguments: [CUDAKernel.Argument]
  ) {
    kernels[name]!(grid: grid, threads: threads, overlaps: true, arguments)
  }

  func empty(_ shape: [Int], _ like: Tensor) -> Tensor {
    .empty(shape, dtype: dtype, device: like.device)
  }

  func sums(_ shape: [Int], _ like: Tensor) -> Tensor { .empty(shape, device: like.device) }
}
