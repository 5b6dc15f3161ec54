import CUDAKernels
import Torch

/// The tokenizer's decoder as a GPU runs it fastest in 16 bits: channels last, with group norms, activations, biases and
/// sums fused between the convolutions. It shares the weights of ``Decoder``.
struct FusedDecoder {
  private let tokenizer: Tokenizer
  private let kernels: CUDAKernels

  /// Nil where the readable path has to do.
  init?(_ tokenizer: Tokenizer) {
    let weight = tokenizer.postQuantConv.weight
    guard weight.device != .cpu, CUDAKernels.supports(weight.dtype), CUDA.isAvailable,
      tokenizer.configuration.channels % 32 == 0,
      tokenizer.configuration.multipliers.allSatisfy({
        $0 * tokenizer.configuration.channels <= 2560
      }),
      let kernels = try? CUDAKernels.shared(weight.dtype)
    else { return nil }
    (self.tokenizer, self.kernels) = (tokenizer, kernels)
  }

  /// f̂ `[B, Cvae, h, w]` → image `[B, 3, H, W]` in [−1, 1], float32.
  func callAsFunction(fHat: Tensor) -> Tensor {
    let decoder = tokenizer.decoder
    let features = tokenizer.postQuantConv(fHat.to(kernels.dtype).channelsLast())
    var x = kernels.summedUp(decoder.convIn(features).channelsLast())
    x = residual(decoder.middle.block1, x)
    x = attended(decoder.middle.attention, x)
    x = residual(decoder.middle.block2, x)
    for level in decoder.levels {
      for (block, attention) in level.blocks {
        x = attended(attention, residual(block, x))
      }
      if let upsampling = level.upsampling {
        x = kernels.interleaved(
          x.x.conv2d(upsampling.merged, padding: 1), bias: upsampling.plain.bias)
      }
    }
    return decoder.convOut(normalized(x, decoder.normOut)).to(.float32).clamped(-1, 1).contiguous()
  }

  private func residual(_ block: ResidualBlock, _ x: NormInput) -> NormInput {
    let h = kernels.summedUp(
      normalized(x, block.norm1).conv2d(block.conv1.weight, padding: 1), bias: block.conv1.bias)
    let y = normalized(h, block.norm2).conv2d(block.conv2.weight, padding: 1)
    return kernels.sum(block.shortcut?(x.x) ?? x.x, y, bias: block.conv2.bias)
  }

  private func attended(_ attention: PixelAttention?, _ x: NormInput) -> NormInput {
    attention.map { kernels.summedUp($0(x.x).channelsLast()) } ?? x
  }

  private func normalized(_ x: NormInput, _ norm: GroupNorm) -> Tensor {
    kernels.groupNormSiLU(x, weight: norm.weight, shift: norm.bias)
  }
}
