import Torch

/// The φ convolutions, which mend what upsampling loses: φ(h) = 0.5 h + 0.5 conv(h).
struct Phi {
  private static let ratio = 0.5
  private let convolutions: [(weight: Tensor, bias: Tensor)]
  private let sharing: TokenizerConfiguration.PhiSharing

  /// In float32, as all that decides about tokens.
  init(_ p: Parameters, _ sharing: TokenizerConfiguration.PhiSharing, channels: Int) {
    self.sharing = sharing
    let places: [Parameters] =
      switch sharing {
      case .full: [p / "qresi"]
      case .partial(let count): (0..<count).map { p / "qresi_ls" / $0 }
      case .none(let count): (0..<count).map { p / $0 }
      }
    convolutions = places.map {
      (
        $0.tensor("weight", channels, channels, 3, 3, dtype: .float32),
        $0.tensor("bias", channels, dtype: .float32)
      )
    }
  }

  /// φ of a scale, on `h [B, Cvae, H, W]`.
  func callAsFunction(_ h: Tensor, scale: Int, of count: Int) -> Tensor {
    let (weight, bias) = convolution(scale: scale, of: count)
    return h * (1 - Self.ratio) + h.conv2d(weight, bias, padding: 1) * Self.ratio
  }

  /// The convolution of a scale's φ: `[Cvae, Cvae, 3, 3]` and `[Cvae]`.
  func convolution(scale: Int, of count: Int) -> (weight: Tensor, bias: Tensor) {
    convolutions[Self.index(scale: scale, of: count, among: convolutions.count)]
  }

  /// The φ whose tick is nearest to k/(K−1); the first of two that are equally near
  /// (`PhiPartiallyShared`, `models/quant.py`).
  static func index(scale: Int, of count: Int, among phis: Int) -> Int {
    guard phis > 1, count > 1 else { return 0 }
    let position = Double(scale) / Double(count - 1)
    let ticks = ticks(phis)
    return ticks.indices.min { abs(ticks[$0] - position) < abs(ticks[$1] - position) }!
  }

  /// As numpy's linspace computes them: the first tie in exact arithmetic depends on it.
  private static func ticks(_ count: Int) -> [Double] {
    let margin = (count == 4 ? 1.0 / 3 : 1.0 / 2) / Double(count)
    let start = margin
    let stop = 1 - margin
    let step = (stop - start) / Double(count - 1)
    return (0..<count).map { $0 == count - 1 ? stop : start + Double($0) * step }
  }
}
