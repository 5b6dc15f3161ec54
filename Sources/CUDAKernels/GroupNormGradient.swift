import Torch

extension CUDAKernels {
  /// Whether ``differentiableGroupNormSiLU(_:weight:shift:)`` works on pictures of so many channels.
  public static func normalizesGroups(ofChannels C: Int) -> Bool { C % 32 == 0 && C <= 2560 }

  /// SiLU(group norm(x)), with 32 groups, for training: its gradient reaches x, weight and shift.
  ///
  /// libtorch's own normalises rows of channels first, and so copies a picture that lies channels last there and back.
  ///
  /// - Parameters:
  ///   - x: `[B, C, H, W]`, channels last.
  ///   - weight: `[C]`, as `shift` is.
  public func differentiableGroupNormSiLU(_ x: Tensor, weight: Tensor, shift: Tensor) -> Tensor {
    let x = x.channelsLast()
    let (kept, gain, bias) = (x.detached(), weight.detached(), shift.detached())
    let input = withoutGradient { self.summedUp(kept) }
    let factors = withoutGradient { self.factors(input, weight: gain, shift: bias) }
    return withCustomGradient(of: [x, weight, shift]) {
      [groupNorm(input, factors: factors, activates: true)]
    } backward: { gradients in
      guard let dy = gradients[0] else { return [nil, nil, nil] }
      return self.groupNormSiLUGradient(
        kept, dy.channelsLast(), sums: input.sums, factors: factors, weight: gain)
    }[0]
  }

  private func groupNormSiLUGradient(
    _ x: Tensor, _ dy: Tensor, sums: Tensor, factors: Tensor, weight: Tensor
  ) -> [Tensor] {
    let (B, C, H, W) = x.shape4
    let pixels = H * W
    let threads = Self.normThreads(channels: C)
    let moments = Tensor.empty([B, 2, C], device: x.device)
    normMoments(
      grid: (B, 1, 1), threads: 512, overlaps: true,
      [.tensor(sums), .tensor(moments), .int(sums.length(1)), .int(pixels), .int(C)])
    let slices = max(1, min(32, pixels / 64))
    let partial = Tensor.empty([B, slices, 2, C], device: x.device)
    normSiLUGradientSums(
      grid: (slices, B, 1), threads: threads, overlaps: true,
      [
        .tensor(x), .tensor(dy), .tensor(factors), .tensor(moments), .tensor(partial),
        .int(pixels), .int(C),
      ])
    let totals = Tensor.empty([B, 2, C], device: x.device)
    let coefficients = Tensor.empty([B, 2, C], device: x.device)
    normSiLUGradientTotals(
      grid: (B, 1, 1), threads: 512, overlaps: true,
      [
        .tensor(partial), .tensor(weight), .tensor(moments), .tensor(totals),
        .tensor(coefficients), .int(slices), .int(pixels), .int(C),
      ])
    let dx = Self.emptyImages((B, C, H, W), x)
    normSiLUGradient(
      grid: (Self.groups(pixels: pixels, channels: C), B, 1), threads: threads, overlaps: true,
      [
        .tensor(x), .tensor(dy), .tensor(factors), .tensor(coefficients), .tensor(dx),
        .int(pixels), .int(C),
      ])
    let sum = totals.sum(0)
    return [dx, sum[1].to(weight.dtype), sum[0].to(weight.dtype)]
  }
}
