import Torch

/// Nearest-neighbour doubling followed by a 3×3 convolution (`Upsample2x`, `models/basic_vae.py`).
///
/// Doubled pixels repeat, so that of the nine taps at most four differ: output row 2i reads rows
/// i−1 and i with weights (w₀, w₁+w₂), row 2i+1 reads i and i+1 with (w₀+w₁, w₂), and columns
/// likewise. One 2×2 convolution with four times the channels at the lower resolution computes all
/// four kinds of output pixel, with 16 products where the plain form has 36.
struct Upsampling {
  let plain: Convolution
  let merged: Tensor  // [4 C, C, 2, 2], output kind (row, column) outermost
  private let mergedBias: Tensor  // [4 C]

  init(_ p: Parameters, _ channels: Int) {
    plain = Convolution(p / "conv", channels, channels)
    merged = Self.merge(plain.weight.to(.float32)).to(plain.weight.dtype).channelsLast()
    mergedBias = plain.bias.repeated(4)
  }

  func callAsFunction(_ x: Tensor) -> Tensor {
    let (B, C, H, W) = x.shape4
    // At (g, h) of [H + 1, W + 1] stand the sums over rows g−1, g and columns h−1, h.
    let y = x.conv2d(merged, mergedBias, padding: 1).permute(0, 2, 3, 1)
      .reshape(B, H + 1, W + 1, 2, 2, C)
    let result = Tensor.empty([B, H, 2, W, 2, C], dtype: x.dtype, device: x.device)
    for (row, column) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
      let pixels = y.slice(1, row..<row + H).slice(2, column..<column + W)
      result.select(2, row).select(3, column)
        .copyInPlace(from: pixels.select(3, row).select(3, column))
    }
    return result.reshape(B, 2 * H, 2 * W, C).permute(0, 3, 1, 2)
  }

  /// What ``callAsFunction(_:)`` computes, as the reference has it.
  func reference(_ x: Tensor) -> Tensor {
    plain(x.resizedNearest(2 * x.length(2), 2 * x.length(3)))
  }

  private static func merge(_ weight: Tensor) -> Tensor {
    let rows = mergedTaps(weight, axis: 2)
    return .concatenate(rows.flatMap { mergedTaps($0, axis: 3) }, axis: 0)
  }

  /// The two pairs of taps of a 3-tap axis.
  private static func mergedTaps(_ weight: Tensor, axis: Int) -> [Tensor] {
    let taps = (0..<3).map { weight.slice(axis, $0..<$0 + 1) }
    return [
      .concatenate([taps[0], taps[1] + taps[2]], axis: axis),
      .concatenate([taps[0] + taps[1], taps[2]], axis: axis),
    ]
  }
}
