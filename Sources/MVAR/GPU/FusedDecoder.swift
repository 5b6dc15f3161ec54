import CUDAKernels
import Torch

/// The tokenizer's decoder as a GPU runs it fastest in 16 bits: channels last, with group norms, activations, biases and
/// sums fused between the convolutions. It shares the weights of ``Decoder``.
struct FusedDecoder {
  private struct Residual {
    let block: ResidualBlock
    let conv1: Tensor
    let conv2: Tensor

    init(_ block: ResidualBlock) {
      self.block = block
      (conv1, conv2) = (Self.widened(block.conv1.weight), Self.widened(block.conv2.weight))
    }

    /// With outputs in whole tiles of 64: cuDNN is a quarter faster with 192 outputs than with 160.
    private static func widened(_ weight: Tensor) -> Tensor {
      let (outputs, inputs, height, width) = weight.shape4
      let missing = (64 - outputs % 64) % 64
      guard outputs > 64, missing > 0 else { return weight }
      let zeros = Tensor.zeros(
        [missing, inputs, height, width], dtype: weight.dtype, device: weight.device)
      return Tensor.concatenate([weight, zeros], axis: 0).channelsLast()
    }
  }

  /// ``PixelAttention`` as products of matrices, whose rows are pixels.
  private struct Attention {
    let norm: GroupNorm
    let qkv: Tensor  // [3 C, C], the scale of scores in the rows of q
    let qkvBias: Tensor
    let out: Tensor  // [C, C]
    let outBias: Tensor

    init(_ attention: PixelAttention) {
      let (qkv, out) = (attention.qkv, attention.out)
      let C = out.bias.count
      let rows: Tensor = .concatenate(
        [.full([C, 1], 1 / Double(C).squareRoot()), .full([2 * C, 1], 1)], axis: 0)
      let scales = rows.to(qkv.weight.device)
      norm = attention.norm
      self.qkv = (qkv.weight.to(.float32).reshape(3 * C, C) * scales).to(qkv.weight.dtype)
        .contiguous()
      qkvBias = (qkv.bias.to(.float32) * scales.reshape(3 * C)).to(qkv.bias.dtype)
      self.out = out.weight.reshape(C, C).contiguous()
      outBias = out.bias
    }
  }

  private struct Level {
    let blocks: [(block: Residual, attention: Attention?)]
    let upsampling: Upsampling?
  }

  private let tokenizer: Tokenizer
  private let kernels: CUDAKernels
  private let middle: (block1: Residual, attention: Attention?, block2: Residual)
  private let levels: [Level]
  private let convOut: LastConvolutionWeights

  /// Nil where the readable path has to do.
  init?(_ tokenizer: Tokenizer) {
    let (weight, configuration) = (tokenizer.postQuantConv.weight, tokenizer.configuration)
    guard weight.device != .cpu, CUDAKernels.supports(weight.dtype), CUDA.isAvailable,
      configuration.channels % 32 == 0,
      configuration.multipliers.allSatisfy({ $0 * configuration.channels <= 2560 }),
      let kernels = try? CUDAKernels.shared(weight.dtype),
      kernels.canEndDecoder(channels: configuration.multipliers[0] * configuration.channels)
    else { return nil }
    (self.tokenizer, self.kernels) = (tokenizer, kernels)
    let decoder = tokenizer.decoder
    middle = (
      Residual(decoder.middle.block1), decoder.middle.attention.map(Attention.init),
      Residual(decoder.middle.block2)
    )
    levels = decoder.levels.map { level in
      Level(
        blocks: level.blocks.map { (Residual($0.block), $0.attention.map(Attention.init)) },
        upsampling: level.upsampling)
    }
    convOut = LastConvolutionWeights(weight: decoder.convOut.weight, bias: decoder.convOut.bias)
  }

  /// f̂ `[B, Cvae, h, w]` → image `[B, 3, H, W]` in [−1, 1], float32.
  func callAsFunction(fHat: Tensor) throws -> Tensor {
    let decoder = tokenizer.decoder
    let features = tokenizer.postQuantConv(fHat.to(kernels.dtype).channelsLast())
    var x = kernels.summedUp(decoder.convIn(features).channelsLast())
    x = residual(middle.block1, x)
    x = attended(middle.attention, x)
    x = residual(middle.block2, x)
    for level in levels {
      for (block, attention) in level.blocks {
        x = attended(attention, residual(block, x))
      }
      if let upsampling = level.upsampling {
        x = kernels.interleaved(
          x.x.conv2d(upsampling.merged, padding: 1), bias: upsampling.plain.bias)
      }
    }
    return try kernels.lastConvolution(
      x, convOut, weight: decoder.normOut.weight, shift: decoder.normOut.bias)
  }

  private func residual(_ residual: Residual, _ x: NormInput) -> NormInput {
    let block = residual.block
    let h = kernels.summedUp(
      normalized(x, block.norm1).conv2d(residual.conv1, padding: 1), bias: block.conv1.bias)
    let y = normalized(h, block.norm2).conv2d(residual.conv2, padding: 1)
    return kernels.sum(block.shortcut?(x.x) ?? x.x, y, bias: block.conv2.bias)
  }

  private func attended(_ attention: Attention?, _ x: NormInput) -> NormInput {
    guard let attention else { return x }
    let (B, C, H, W) = x.x.shape4
    let pixels = kernels.groupNorm(
      x, weight: attention.norm.weight, shift: attention.norm.bias
    ).permute(0, 2, 3, 1).reshape(B, H * W, C)
    let parts = kernels.linear(pixels, attention.qkv, attention.qkvBias)
      .chunked(3, axis: 2)
    let shares = parts[0].matmul(parts[1].transpose(1, 2)).softmax(2)
    let y = kernels.linear(shares.matmul(parts[2]), attention.out, nil)
    return kernels.sum(
      x.x, y.reshape(B, H, W, C).permute(0, 3, 1, 2), bias: attention.outBias)
  }

  private func normalized(_ x: NormInput, _ norm: GroupNorm) -> Tensor {
    kernels.groupNormSiLU(x, weight: norm.weight, shift: norm.bias)
  }
}
