import CUDAKernels
import Torch

/// The tokenizer's decoder as a GPU runs it fastest in 16 bits: channels last, with group norms, activations, biases and
/// sums fused between the convolutions. It shares the weights of ``Decoder``.
struct FusedDecoder {
  /// A convolution of 3 × 3, for the kernel of ours and for cuDNN, which takes what that one leaves.
  private struct Convolution3 {
    let weights: ConvolutionWeights?
    let bias: Tensor
    let widened: Tensor

    init(_ convolution: Convolution) {
      (weights, bias) = (
        ConvolutionWeights(convolution.weight, bias: convolution.bias), convolution.bias
      )
      widened = Self.widened(convolution.weight)
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

  private struct Residual {
    let norm1: GroupNorm
    let conv1: Convolution3
    let norm2: GroupNorm
    let conv2: Convolution3
    let shortcut: Convolution?

    init(_ block: ResidualBlock) {
      (norm1, conv1) = (block.norm1, Convolution3(block.conv1))
      (norm2, conv2) = (block.norm2, Convolution3(block.conv2))
      shortcut = block.shortcut
    }
  }

  private struct Doubling {
    let weights: ConvolutionWeights?
    let merged: Tensor
    let bias: Tensor

    init(_ upsampling: Upsampling) {
      (merged, bias) = (upsampling.merged, upsampling.plain.bias)
      weights = ConvolutionWeights(merged, bias: bias)
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
    let doubling: Doubling?
  }

  private let tokenizer: Tokenizer
  private let kernels: CUDAKernels
  private let middle: (block1: Residual, attention: Attention?, block2: Residual)
  private let levels: [Level]
  private let convInWeights: ConvolutionWeights?
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
        doubling: level.upsampling.map(Doubling.init))
    }
    convInWeights = ConvolutionWeights(decoder.convIn.weight, bias: decoder.convIn.bias)
    convOut = LastConvolutionWeights(weight: decoder.convOut.weight, bias: decoder.convOut.bias)
  }

  /// f̂ `[B, Cvae, h, w]` → image `[B, 3, H, W]` in [−1, 1], float32.
  func callAsFunction(fHat: Tensor) throws -> Tensor {
    let decoder = tokenizer.decoder
    let features = tokenizer.postQuantConv(fHat.to(kernels.dtype).channelsLast())
    var x = entered(features.channelsLast())
    x = residual(middle.block1, x)
    x = attended(middle.attention, x)
    x = residual(middle.block2, x)
    for level in levels {
      for (block, attention) in level.blocks {
        x = attended(attention, residual(block, x))
      }
      if let doubling = level.doubling { x = doubled(doubling, x.x) }
    }
    return try kernels.lastConvolution(
      x, convOut, weight: decoder.normOut.weight, shift: decoder.normOut.bias)
  }

  private func entered(_ features: Tensor) -> NormInput {
    convInWeights.flatMap { kernels.convolved(features, $0) }
      ?? kernels.summedUp(tokenizer.decoder.convIn(features).channelsLast())
  }

  private func residual(_ residual: Residual, _ x: NormInput) -> NormInput {
    let h =
      convolved(residual.conv1, residual.norm1, x)
      ?? kernels.summedUp(
        normalized(x, residual.norm1).conv2d(residual.conv1.widened, padding: 1),
        bias: residual.conv1.bias)
    let past = residual.shortcut.map { shortcut($0, x.x) } ?? x.x
    return convolved(residual.conv2, residual.norm2, h, adding: past)
      ?? kernels.sum(
        past, normalized(h, residual.norm2).conv2d(residual.conv2.widened, padding: 1),
        bias: residual.conv2.bias)
  }

  /// Nil where cuDNN has to do.
  private func convolved(
    _ convolution: Convolution3, _ norm: GroupNorm, _ x: NormInput, adding added: Tensor? = nil
  ) -> NormInput? {
    convolution.weights.flatMap {
      kernels.convolved(x, norm: (norm.weight, norm.bias), $0, adding: added)
    }
  }

  /// A convolution of 1 × 1, as a product of matrices whose rows are pixels.
  private func shortcut(_ convolution: Convolution, _ x: Tensor) -> Tensor {
    let (B, C, H, W) = x.shape4
    let weight = convolution.weight.reshape(convolution.bias.count, C)
    let y = kernels.linear(
      x.permute(0, 2, 3, 1).reshape(B * H * W, C), weight, convolution.bias)
    return y.reshape(B, H, W, convolution.bias.count).permute(0, 3, 1, 2)
  }

  private func doubled(_ doubling: Doubling, _ x: Tensor) -> NormInput {
    doubling.weights.flatMap { kernels.upsampled(x, $0) }
      ?? kernels.interleaved(x.conv2d(doubling.merged, padding: 1), bias: doubling.bias)
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
