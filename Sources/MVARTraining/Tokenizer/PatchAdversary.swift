import Torch

/// Tells original patches from decoded ones (PatchGAN, arXiv 1611.07004): a few strided convolutions,
/// each answer for one patch.
///
/// Group normalisation stands where the original has batch normalisation, so that a picture's answer
/// does not depend on the others of the batch, nor on running means.
struct PatchAdversary {
  private let first: (weight: Tensor, bias: Tensor)
  private let middle: [(weight: Tensor, gain: Tensor, bias: Tensor, stride: Int)]
  private let last: (weight: Tensor, bias: Tensor)
  private let dtype: DType

  init(_ p: Parameters, channels: Int) {
    dtype = p.dtype
    first = (
      (p / "first").tensor("weight", channels, 3, 4, 4).channelsLast(),
      (p / "first").tensor("bias", channels)
    )
    middle = [(1, 2, 2), (2, 4, 2), (4, 8, 1)].enumerated().map { index, layer in
      let p = p / "middle" / index
      let (inputs, outputs) = (layer.0 * channels, layer.1 * channels)
      return (
        p.tensor("weight", outputs, inputs, 4, 4).channelsLast(), p.tensor("norm.weight", outputs),
        p.tensor("norm.bias", outputs), layer.2
      )
    }
    last = (
      (p / "last").tensor("weight", 1, 8 * channels, 4, 4).channelsLast(),
      (p / "last").tensor("bias", 1)
    )
  }

  /// `[B, 3, H, W]` in [−1, 1] → `[B, 1, h, w]`, higher for originals; float32.
  func callAsFunction(_ pixels: Tensor) -> Tensor {
    var x = pixels.to(dtype).channelsLast()
    x = x.conv2d(first.weight, first.bias, stride: 2, padding: 1).leakyReLU()
    for layer in middle {
      x = x.conv2d(layer.weight, stride: layer.stride, padding: 1)
        .groupNorm(8, layer.gain, layer.bias, epsilon: 1e-5).leakyReLU()
    }
    return x.conv2d(last.weight, last.bias, padding: 1).to(.float32)
  }

  /// The hinge loss by which it learns (arXiv 1705.02894).
  static func hinge(original: Tensor, decoded: Tensor) -> Tensor {
    ((1 - original).clamped(0, .infinity).mean() + (decoded + 1).clamped(0, .infinity).mean()) * 0.5
  }
}

extension Tensor {
  /// x above zero, 0.2 x below.
  fileprivate func leakyReLU() -> Tensor { self * 0.6 + absolute() * 0.4 }
}

private func - (a: Double, b: Tensor) -> Tensor { b * -1 + a }
