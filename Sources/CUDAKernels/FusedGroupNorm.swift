import Torch

/// What a group normalisation normalises: the tensor, and its sums.
public struct NormInput {
  /// `[B, C or more, H, W]`, channels last; what is behind ``channels`` is to be left out. ``bias`` is not yet added.
  public let x: Tensor
  let channels: Int
  /// Sums and sums of squares of 32 groups, over as many slices of a picture as its size asks for.
  let sums: Tensor  // float32 [B, slices, 32, 2]
  let bias: Tensor?
}

extension CUDAKernels {
  /// The output of a convolution without its bias, summed up as if the bias had been added.
  ///
  /// - Parameter x: may have more channels than the bias, which are left out.
  public func summedUp(_ x: Tensor, bias: Tensor) -> NormInput {
    let (B, stride, H, W) = x.shape4
    let C = bias.count
    let sums = sums(kind: 0, x, nil, bias, out: nil, shape: (B, C, H, W), stride: stride)
    return NormInput(x: x, channels: C, sums: sums, bias: bias)
  }

  public func summedUp(_ x: Tensor) -> NormInput {
    let shape = x.shape4
    let sums = sums(kind: 0, x, nil, nil, out: nil, shape: shape, stride: shape.1)
    return NormInput(x: x, channels: shape.1, sums: sums, bias: nil)
  }

  /// x + y + bias, summed up; y may have more channels, which are left out.
  public func sum(_ x: Tensor, _ y: Tensor, bias: Tensor) -> NormInput {
    let out = Self.emptyImages(x.shape4, x)
    let shape = x.shape4
    let sums = sums(kind: 1, x, y, bias, out: out, shape: shape, stride: y.length(1))
    return NormInput(x: out, channels: shape.1, sums: sums, bias: nil)
  }

  /// The four kinds of pixels that a merged upsampling convolution gives, `[B, 4·C, H + 1, W + 1]`, put in their places:
  /// `[B, C, 2·H, 2·W]`, with the bias.
  public func interleaved(_ kinds: Tensor, bias: Tensor) -> NormInput {
    let (B, C4, H, W) = kinds.shape4
    let shape = (B, C4 / 4, 2 * (H - 1), 2 * (W - 1))
    let out = Self.emptyImages(shape, kinds)
    let sums = sums(kind: 2, kinds, nil, bias, out: out, shape: shape, stride: C4)
    return NormInput(x: out, channels: shape.1, sums: sums, bias: nil)
  }

  /// SiLU(group norm(x)), with 32 groups.
  public func groupNormSiLU(_ input: NormInput, weight: Tensor, shift: Tensor) -> Tensor {
    groupNormSiLU(input, factors: factors(input, weight: weight, shift: shift))
  }

  func groupNormSiLU(_ input: NormInput, factors: Tensor) -> Tensor {
    normalized(input, factors: factors, activates: true)
  }

  /// Group norm(x), with 32 groups.
  public func groupNorm(_ input: NormInput, weight: Tensor, shift: Tensor) -> Tensor {
    let factors = factors(input, weight: weight, shift: shift)
    return normalized(input, factors: factors, activates: false)
  }

  private func normalized(_ input: NormInput, factors: Tensor, activates: Bool) -> Tensor {
    let (B, stride, H, W) = input.x.shape4
    let C = input.channels
    let out = Self.emptyImages((B, C, H, W), input.x)
    normSiLU(
      grid: (groups(pictures: B, pixels: H * W, channels: C), B, 1),
      threads: Self.normThreads(channels: C), overlaps: true,
      [
        .tensor(input.x), .tensor(factors), .tensor(out), .int(H * W), .int(C), .int(stride),
        .int(activates ? 1 : 0),
      ])
    return out
  }

  /// What a pixel's channels are multiplied by, and what is then added: float32 `[B, 2, C]`.
  func factors(_ input: NormInput, weight: Tensor, shift: Tensor) -> Tensor {
    let (B, _, H, W) = input.x.shape4
    let factors = Tensor.empty([B, 2, input.channels], device: input.x.device)
    normFactors(
      grid: (B, 1, 1), threads: 512, overlaps: true,
      [
        .tensor(input.sums), .tensor(weight), .tensor(shift), .optional(input.bias),
        .tensor(factors), .int(input.sums.length(1)), .int(H * W), .int(input.channels),
      ])
    return factors
  }

  private func sums(
    kind: Int, _ source: Tensor, _ other: Tensor?, _ bias: Tensor?, out: Tensor?,
    shape: (Int, Int, Int, Int), stride: Int
  ) -> Tensor {
    let (B, C, H, W) = shape
    // As many as fill a GPU with one picture, and no more than are summed up quickly.
    let slices = max(1, min(256, H * W / 16))
    let sums = Tensor.empty([B, slices, 32, 2], device: source.device)
    normStatistics(
      grid: (slices, B, 1), threads: Self.normThreads(channels: C), overlaps: true,
      [
        .tensor(source), .optional(other), .optional(bias), .optional(out), .tensor(sums),
        .int(kind), .int(H), .int(W), .int(C), .int(stride),
      ])
    return sums
  }

  /// Each thread has eight channels.
  static func normThreads(channels C: Int) -> Int { C / 8 * max(1, 320 / (C / 8)) }

  /// Blocks for a picture: of 16 pixels a thread, or of 4 where a GPU would have too few blocks.
  private func groups(pictures: Int, pixels: Int, channels C: Int) -> Int {
    func groups(each: Int) -> Int {
      Self.groups(pixels: pixels, channels: C, each: each)
    }
    let few = groups(each: 16)
    return few * pictures >= 8 * multiprocessors ? few : groups(each: 4)
  }

  /// Blocks for a picture, of `each` pixels a thread.
  static func groups(pixels: Int, channels C: Int, each: Int = 16) -> Int {
    let block = each * (8 * normThreads(channels: C) / C)
    return (pixels + block - 1) / block
  }

  static func emptyImages(_ shape: (Int, Int, Int, Int), _ like: Tensor) -> Tensor {
    let (B, C, H, W) = shape
    return Tensor.empty([B, H, W, C], dtype: like.dtype, device: like.device).permute(0, 3, 1, 2)
  }
}
