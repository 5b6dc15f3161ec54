import Torch

/// What a group normalisation normalises: the tensor, and its sums.
public struct NormInput {
  /// `[B, C, H, W]`, channels last. ``bias`` is not yet added.
  public let x: Tensor
  let sums: Tensor  // float32 [B, slices, 32, 2]
  let bias: Tensor?
}

extension CUDAKernels {
  /// The output of a convolution without its bias, summed up as if the bias had been added.
  public func summedUp(_ x: Tensor, bias: Tensor) -> NormInput {
    let sums = sums(kind: 0, x, nil, bias, out: nil, shape: x.shape4)
    return NormInput(x: x, sums: sums, bias: bias)
  }

  public func summedUp(_ x: Tensor) -> NormInput {
    NormInput(x: x, sums: sums(kind: 0, x, nil, nil, out: nil, shape: x.shape4), bias: nil)
  }

  /// x + y + bias, summed up.
  public func sum(_ x: Tensor, _ y: Tensor, bias: Tensor) -> NormInput {
    let out = Self.emptyImages(x.shape4, x)
    return NormInput(
      x: out, sums: sums(kind: 1, x, y, bias, out: out, shape: x.shape4), bias: nil)
  }

  /// The four kinds of pixels that a merged upsampling convolution gives, `[B, 4·C, H + 1, W + 1]`, put in their places:
  /// `[B, C, 2·H, 2·W]`, with the bias.
  public func interleaved(_ kinds: Tensor, bias: Tensor) -> NormInput {
    let (B, C4, H, W) = kinds.shape4
    let shape = (B, C4 / 4, 2 * (H - 1), 2 * (W - 1))
    let out = Self.emptyImages(shape, kinds)
    return NormInput(
      x: out, sums: sums(kind: 2, kinds, nil, bias, out: out, shape: shape), bias: nil)
  }

  /// SiLU(group norm(x)), with 32 groups.
  public func groupNormSiLU(_ input: NormInput, weight: Tensor, shift: Tensor) -> Tensor {
    let (B, C, H, W) = input.x.shape4
    let factors = Tensor.empty([B, 2, C], device: input.x.device)
    normFactors(
      grid: (B, 1, 1), threads: 512, overlaps: true,
      [
        .tensor(input.sums), .tensor(weight), .tensor(shift), .optional(input.bias),
        .tensor(factors), .int(input.sums.length(1)), .int(H * W), .int(C),
      ])
    let out = Self.emptyImages((B, C, H, W), input.x)
    let threads = Self.threads(channels: C)
    // 16 pixels a thread.
    let groups = (H * W + 16 * (8 * threads / C) - 1) / (16 * (8 * threads / C))
    normSiLU(
      grid: (groups, B, 1), threads: threads, overlaps: true,
      [.tensor(input.x), .tensor(factors), .tensor(out), .int(H * W), .int(C)])
    return out
  }

  private func sums(
    kind: Int, _ source: Tensor, _ other: Tensor?, _ bias: Tensor?, out: Tensor?,
    shape: (Int, Int, Int, Int)
  ) -> Tensor {
    let (B, C, H, W) = shape
    // As many as fill a GPU with one picture, and no more than are summed up quickly.
    let slices = max(1, min(128, H * W / 64))
    let sums = Tensor.empty([B, slices, 32, 2], device: source.device)
    normStatistics(
      grid: (slices, B, 1), threads: Self.threads(channels: C), overlaps: true,
      [
        .tensor(source), .optional(other), .optional(bias), .optional(out), .tensor(sums),
        .int(kind), .int(H), .int(W), .int(C),
      ])
    return sums
  }

  /// Each thread has eight channels.
  private static func threads(channels C: Int) -> Int { C / 8 * max(1, 320 / (C / 8)) }

  private static func emptyImages(_ shape: (Int, Int, Int, Int), _ like: Tensor) -> Tensor {
    let (B, C, H, W) = shape
    return Tensor.empty([B, H, W, C], dtype: like.dtype, device: like.device).permute(0, 3, 1, 2)
  }
}
