import CUDAKernels
import Torch

/// The tokenizer's decoder as a GPU runs it fastest in 16 bits: channels last, with group norms, activations, biases and
/// sums fused between the convolutions. It shares the weights of ``Decoder``.
struct FusedDecoder {
  private let tokenizer: Tokenizer
  private let kernels: CUDAKernels
  /// The last convolution with 8 outputs, of which 3 are wanted: for 3 alone there is no product of matrix tiles, and
  /// it would take as long as a quarter of all others.
  private let convOut: (weight: Tensor, bias: Tensor)

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
    let last = tokenizer.decoder.convOut
    let (outputs, inputs, height, width) = last.weight.shape4
    func padded(_ x: Tensor, _ shape: [Int]) -> Tensor {
      .concatenate([x, .zeros(shape, dtype: x.dtype, device: x.device)], axis: 0)
    }
    convOut = (
      padded(last.weight, [8 - outputs, inputs, height, width]).channelsLast(),
      padded(last.bias, [8 - outputs])
    )
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
    return normalized(x, decoder.normOut).conv2d(convOut.weight, convOut.bias, padding: 1)
      .slice(1, 0..<decoder.convOut.bias.count).to(.float32).clamped(-1, 1).contiguous()
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
