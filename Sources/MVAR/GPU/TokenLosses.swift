import CUDAKernels
import Torch

/// The loss of each token.
public enum TokenLosses {
  /// The cross entropy of each row of logits `[T, V]` of any type: float32 `[T]`.
  ///
  /// On a GPU logits of 16 bits are read as they are, and their gradient is made in 16 bits: copies in float32 would be
  /// the largest tensors of a step.
  ///
  /// - Parameters:
  ///   - targets: int64 `[T]`.
  ///   - smoothing: The share of each target's weight that all tokens get alike.
  public static func of(_ logits: Tensor, _ targets: Tensor, smoothing: Double) -> Tensor {
    guard logits.device != .cpu, CUDAKernels.supports(logits.dtype), logits.length(1) % 8 == 0,
      CUDA.isAvailable, let kernels = try? TrainingKernels.shared(logits.dtype)
    else { return logits.to(.float32).crossEntropy(targets, smoothing: smoothing) }
    let (kept, targets) = (logits.detached().contiguous(), targets.contiguous())
    let (losses, logs) = withoutGradient {
      kernels.crossEntropy(kept, targets, smoothing: smoothing)
    }
    return withCustomGradient(of: [logits]) {
      [losses]
    } backward: { gradients in
      [
        gradients[0].map {
          kernels.crossEntropyGradient(
            $0.contiguous(), kept, targets, logs: logs, smoothing: smoothing)
        }
      ]
    }[0]
  }
}
