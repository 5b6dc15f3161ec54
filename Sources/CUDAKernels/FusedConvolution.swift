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
    // A tile of 160 outputs has whole groups of the norm that follows, or whole tiles make one.
    guard bias.count % 160 == 0, 160 % (bias.count / 32) == 0, C % 32 == 0 else { return nil }
    precondition(O == (height == 2 ? 4 : 1) * bias.count, "one bias an output")
    taps = weight.contiguous().reshape(O / 160, 160, C / 32, 4, 8, height * width)
      .permute(0, 2, 5, 3, 1, 4).contiguous()
    self.bias = bias
  }
}

/// The tiles that a convolution is made of.
enum ConvolutionForm: Hashable, CaseIterable {
  case of8Rows
  case of16Rows
  /// Of 8 rows, each the sum of some parts, which share the inputs: for few tiles.
  case inParts

  private var name: String {
    switch self {
    case .of8Rows: "of_8_rows"
    case .of16Rows: "of_16_rows"
    case .inParts: "in_parts"
    }
  }

  private var rows: Int { self == .of16Rows ? 16 : 8 }

  /// How many x `[B, C, H, W]` gives, for all groups of outputs.
  func tiles(_ x: Tensor, _ weights: ConvolutionWeights) -> Int {
    let (B, _, H, W) = x.shape4
    return B * (H / rows) * (W / 16) * weights.columns
  }

  /// What `convolve_tiles` of `convolution.cu` has in its room: four patches, five taps, the results and their sums.
  var sharedBytes: Int {
    let rim = (rows + 2) * 18
    let patches = 4 * 4 * ((rim + 5) / 8 * 8 + 2) * 16
    let taps = 5 * 160 * 32 * 2
    let results = rows * 16 * (2 * 160 + 16)
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

/// The norm and SiLU in front of a convolution.
enum ConvolutionNorm {
  /// Float32 `[B, 2, C]`.
  case factors(Tensor)
  /// What they are made of: sums `[1, slices, 32, 2]` of one picture, weight and shift.
  case ofSums(Tensor, weight: Tensor, shift: Tensor)

  fileprivate var factors: Tensor? {
    if case .factors(let factors) = self { factors } else { nil }
  }

  fileprivate var source: (sums: Tensor, weight: Tensor, shift: Tensor)? {
    if case .ofSums(let sums, let weight, let shift) = self { (sums, weight, shift) } else { nil }
  }
}

/// How a convolution is shared by multiprocessors.
struct ConvolutionPlan {
  let form: ConvolutionForm
  let parts: Int

  init(_ form: ConvolutionForm, parts: Int = 1) { (self.form, self.parts) = (form, parts) }

  /// Whether the blocks make the factors of the norm in front, which spares a kernel: where each has but one picture, and sums
  /// are few.
  func makesFactors(_ x: NormInput) -> Bool {
    x.x.length(0) == 1 && x.bias == nil && form != .of16Rows && x.channels <= 640
      && x.sums.length(1) <= 128
  }

  /// Nil for sizes that tiles do not fit.
  init?(_ x: Tensor, _ weights: ConvolutionWeights, multiprocessors: Int) {
    let (_, _, H, W) = x.shape4
    guard H % 8 == 0, W % 16 == 0 else { return nil }
    let lowTiles = ConvolutionForm.of8Rows.tiles(x, weights)
    let (chunks, taps) = (weights.taps.length(1), weights.taps.length(2))
    if lowTiles >= 4 * multiprocessors, H % 16 == 0 {
      self.init(.of16Rows)
      return
    }
    let most = max(1, min(multiprocessors / max(1, lowTiles), chunks))
    // As few as have no more of the inputs each.
    let each = (chunks + most - 1) / most
    let parts = (chunks + each - 1) / each
    // Summing up takes as long as some 30 taps.
    if parts > 1, chunks * taps * (parts - 1) > 30 * parts {
      self.init(.inParts, parts: parts)
    } else {
      self.init(.of8Rows)
    }
  }
}

extension CUDAKernels {
  /// The convolution of 3 × 3 of x `[B, C, H, W]`, channels last; nil as in ``convolved(_:norm:_:adding:)``.
  public func convolved(_ x: Tensor, _ weights: ConvolutionWeights) -> NormInput? {
    convolutionPlan(x, weights).map {
      convolved(x, channels: x.length(1), nil, weights, adding: nil, $0)
    }
  }

  /// The convolution of 3 × 3 of SiLU(group norm(x)), + bias + `added`.
  ///
  /// - Parameters:
  ///   - norm: the weight and the shift of the norm.
  ///   - added: `[B, O, H, W]`, channels last.
  /// - Returns: nil where there is no kernel for it: for oddly sized pictures, and on other GPUs than Hopper's.
  public func convolved(
    _ x: NormInput, norm: (weight: Tensor, shift: Tensor), _ weights: ConvolutionWeights,
    adding added: Tensor? = nil
  ) -> NormInput? {
    convolutionPlan(x.x, weights).map { plan in
      let inputNorm: ConvolutionNorm =
        plan.makesFactors(x)
        ? .ofSums(x.sums, weight: norm.weight, shift: norm.shift)
        : .factors(factors(x, weight: norm.weight, shift: norm.shift))
      return convolved(x.x, channels: x.channels, inputNorm, weights, adding: added, plan)
    }
  }

  func convolved(
    _ x: Tensor, channels: Int, _ norm: ConvolutionNorm?, _ weights: ConvolutionWeights,
    adding added: Tensor?, _ plan: ConvolutionPlan
  ) -> NormInput {
    let (B, stride, H, W) = x.shape4
    let source = norm?.source
    return finished(plan, like: x, (B, weights.bias.count, H, W), weights, adding: added) {
      blocks, out, sums in
      convolutions[plan.form]!.plain(
        grid: (blocks, 1, 1), threads: 512, overlaps: true,
        [
          .tensor(x), .optional(norm?.factors), .tensor(weights.taps), .tensor(weights.bias),
          .optional(added), .tensor(out), .tensor(sums), .int(B), .int(H), .int(W),
          .int(channels), .int(stride), .int(weights.bias.count), .int(plan.parts),
          .optional(source?.sums), .optional(source?.weight), .optional(source?.shift),
          .int(source?.sums.length(1) ?? 0),
        ])
    }
  }

  /// x doubled in height and width, then convolved; nil as in ``convolved(_:norm:_:adding:)``.
  ///
  /// - Parameter x: `[B, C, H, W]`, channels last, all of whose channels count.
  public func upsampled(_ x: Tensor, _ weights: ConvolutionWeights) -> NormInput? {
    convolutionPlan(x, weights).map { upsampled(x, weights, $0) }
  }

  func upsampled(_ x: Tensor, _ weights: ConvolutionWeights, _ plan: ConvolutionPlan) -> NormInput {
    let (B, C, H, W) = x.shape4
    return finished(plan, like: x, (B, weights.bias.count, 2 * H, 2 * W), weights, adding: nil) {
      blocks, out, sums in
      convolutions[plan.form]!.upsampling(
        grid: (blocks, 1, 1), threads: 512, overlaps: true,
        [
          .tensor(x), .tensor(weights.taps), .tensor(weights.bias), .tensor(out), .tensor(sums),
          .int(B), .int(H), .int(W), .int(C), .int(weights.bias.count), .int(plan.parts),
        ])
    }
  }

  /// Runs a kernel that gives a whole convolution and its sums, or parts that are then summed up.
  private func finished(
    _ plan: ConvolutionPlan, like x: Tensor, _ shape: (Int, Int, Int, Int),
    _ weights: ConvolutionWeights, adding added: Tensor?,
    _ launch: (_ blocks: Int, _ out: Tensor, _ sums: Tensor) -> Void
  ) -> NormInput {
    let (B, O, H, W) = shape
    let out = Self.emptyImages(shape, x)
    // Each multiprocessor has one block, as far as there are tiles.
    let blocks = min(multiprocessors, plan.form.tiles(x, weights) * plan.parts)
    guard plan.form == .inParts else {
      // A strip of 8 rows of a tile of what comes in has sums of its own, for each kind of pixel.
      let sums = Tensor.empty([B, H / 8 * (W / 16), 32, 2], device: x.device)
      launch(blocks, out, sums)
      return NormInput(x: out, channels: O, sums: sums, bias: nil)
    }
    let parts = Tensor.empty([plan.parts, B, H, W, O], device: x.device)
    launch(blocks, out, parts)
    let threads = Self.normThreads(channels: O)
    let slices = max(1, min(256, H * W * O / 8 / threads))
    let sums = Tensor.empty([B, slices, 32, 2], device: x.device)
    normStatisticsOfParts(
      grid: (slices, B, 1), threads: threads, overlaps: true,
      [
        .tensor(parts), .optional(added), .tensor(weights.bias), .tensor(out), .tensor(sums),
        .int(plan.parts), .int(H * W), .int(O),
      ])
    return NormInput(x: out, channels: O, sums: sums, bias: nil)
  }

  /// Nil where there is no kernel for it.
  private func convolutionPlan(_ x: Tensor, _ weights: ConvolutionWeights) -> ConvolutionPlan? {
    guard
      let plan = ConvolutionPlan(x, weights, multiprocessors: multiprocessors),
      convolutions[plan.form] != nil
    else { return nil }
    return plan
  }
}
