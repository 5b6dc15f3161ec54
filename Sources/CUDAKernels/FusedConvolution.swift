import Torch

/// The weights of a convolution as Hopper's kernel reads them.
public struct ConvolutionWeights {
  /// `[O / 160, C / 32, taps, 4, 160, 8]`: for each group of outputs and of inputs the tap, the plane of 8 inputs, the
  /// output, the input.
  let taps: Tensor
  let bias: Tensor
  /// Groups of outputs.
  var columns: Int { taps.length(0) }

  /// Nil where the kernel has no form for so many channels.
  ///
  /// - Parameters:
  ///   - weight: `[O, C, 3, 3]`, or `[4·O, C, 2, 2]` of an upsampling, the kind of output pixel (row, column) outermost.
  ///   - bias: `[O]`.
  public init?(_ weight: Tensor, bias: Tensor) {
    let (O, C, height, width) = weight.shape4
    guard bias.count % 160 == 0, C % 32 == 0 else { return nil }
    precondition(O == (height == 2 ? 4 : 1) * bias.count, "one bias an output")
    taps = weight.contiguous().reshape(O / 160, 160, C / 32, 4, 8, height * width)
      .permute(0, 2, 5, 3, 1, 4).contiguous()
    self.bias = bias
  }
}

/// The tiles that a convolution is made of.
enum ConvolutionForm: Int, CaseIterable {
  case of8Rows = 1
  case of16Rows = 2

  private var name: String { "of_\(8 * rawValue)_rows" }

  /// As `ConvolutionTile` of `convolution.cu` adds up.
  var sharedBytes: Int {
    let rim = (8 * rawValue + 2) * 18
    let patches = 4 * 4 * ((rim + 5) / 8 * 8 + 2) * 16
    let taps = 5 * 160 * 32 * 2
    let results = 8 * rawValue * 16 * (2 * 160 + 16)
    let sums = 4 * 160 * 2 * 4
    return patches + taps + results + sums
  }

  func kernels(_ program: CUDAProgram) throws -> (plain: CUDAKernel, upsampling: CUDAKernel) {
    (
      try program.kernel("convolution_\(name)", sharedBytes: sharedBytes),
      try program.kernel("upsampling_\(name)", sharedBytes: sharedBytes)
    )
  }
}

extension CUDAKernels {
  /// The convolution of 3 × 3 of x `[B, C, H, W]`, channels last; nil as in ``convolved(_:norm:_:adding:)``.
  public func convolved(_ x: Tensor, _ weights: ConvolutionWeights) -> NormInput? {
    convolutionForm(x, weights).map {
      convolved(x, channels: x.length(1), factors: nil, weights, adding: nil, $0)
    }
  }

  /// The convolution of 3 × 3 of SiLU(group norm(x)), + bias + `added`.
  ///
  /// - Parameters:
  ///   - norm: the weight and the shift of the norm.
  ///   - added: `[B, O, H, W]`, channels last.
  /// - Returns: nil where another way is faster, or the only one: for few or oddly sized pictures, and on other GPUs than
  ///   Hopper's.
  public func convolved(
    _ x: NormInput, norm: (weight: Tensor, shift: Tensor), _ weights: ConvolutionWeights,
    adding added: Tensor? = nil
  ) -> NormInput? {
    convolutionForm(x.x, weights).map {
      convolved(
        x.x, channels: x.channels, factors: factors(x, weight: norm.weight, shift: norm.shift),
        weights, adding: added, $0)
    }
  }

  func convolved(
    _ x: Tensor, channels: Int, factors: Tensor?, _ weights: ConvolutionWeights,
    adding added: Tensor?, _ form: ConvolutionForm
  ) -> NormInput {
    let (B, stride, H, W) = x.shape4
    let O = weights.bias.count
    let out = Self.emptyImages((B, O, H, W), x)
    let sums = Self.emptySums(pictures: B, strips: H / 8 * (W / 16), x)
    convolutions[form]!.plain(
      grid: (convolutionBlocks(form, x, weights), 1, 1), threads: 512, overlaps: true,
      [
        .tensor(x), .optional(factors), .tensor(weights.taps), .tensor(weights.bias),
        .optional(added), .tensor(out), .tensor(sums), .int(B), .int(H), .int(W),
        .int(channels), .int(stride), .int(O),
      ])
    return NormInput(x: out, channels: O, sums: sums, bias: nil)
  }

  /// x doubled in height and width, then convolved; nil as in ``convolved(_:norm:_:adding:)``.
  ///
  /// - Parameter x: `[B, C, H, W]`, channels last, all of whose channels count.
  public func upsampled(_ x: Tensor, _ weights: ConvolutionWeights) -> NormInput? {
    convolutionForm(x, weights).map { upsampled(x, weights, $0) }
  }

  func upsampled(_ x: Tensor, _ weights: ConvolutionWeights, _ form: ConvolutionForm) -> NormInput {
    let (B, C, H, W) = x.shape4
    let O = weights.bias.count
    let out = Self.emptyImages((B, O, 2 * H, 2 * W), x)
    let sums = Self.emptySums(pictures: B, strips: 4 * (H / 8) * (W / 16), x)
    convolutions[form]!.upsampling(
      grid: (convolutionBlocks(form, x, weights), 1, 1), threads: 512, overlaps: true,
      [
        .tensor(x), .tensor(weights.taps), .tensor(weights.bias), .tensor(out), .tensor(sums),
        .int(B), .int(H), .int(W), .int(C), .int(O),
      ])
    return NormInput(x: out, channels: O, sums: sums, bias: nil)
  }

  private func convolutionForm(_ x: Tensor, _ weights: ConvolutionWeights) -> ConvolutionForm? {
    let (B, _, H, W) = x.shape4
    guard H % 8 == 0, W % 16 == 0 else { return nil }
    let lowTiles = B * (H / 8) * (W / 16) * weights.columns
    // With fewer, cuDNN spreads a picture's sums over more multiprocessors.
    guard 5 * lowTiles >= 2 * multiprocessors else { return nil }
    let isLarge = H % 16 == 0 && lowTiles >= 4 * multiprocessors
    let form: ConvolutionForm = isLarge ? .of16Rows : .of8Rows
    return convolutions[form] == nil ? nil : form
  }

  /// Each multiprocessor has one block, as far as there are tiles.
  private func convolutionBlocks(
    _ form: ConvolutionForm, _ x: Tensor, _ weights: ConvolutionWeights
  ) -> Int {
    let (B, _, H, W) = x.shape4
    return min(multiprocessors, B * (H / (8 * form.rawValue)) * (W / 16) * weights.columns)
  }

  private static func emptySums(pictures: Int, strips: Int, _ like: Tensor) -> Tensor {
    .empty([pictures, strips, 32, 2], device: like.device)
  }
}
