import Foundation
import Torch

/// How well a picture was kept, pixel by pixel.
public enum PictureFidelity {
  /// The most that ``psnr(_:_:)`` gives, for pictures that are alike: infinity would spoil a mean.
  public static let highestPSNR = 100.0

  /// The peak signal-to-noise ratio in decibels, of pixels in 0 … 255: `[B, 3, H, W]` each to `[B]`.
  public static func psnr(_ a: Tensor, _ b: Tensor) -> Tensor {
    let difference = a.to(.float64) - b.to(.float64)
    let error = (difference * difference).mean(1, 2, 3)
    let lowest = 255 * 255 / Foundation.pow(10, highestPSNR / 10)
    return (error.clamped(lowest, .infinity) / (255 * 255)).log() * (-10 / Foundation.log(10))
  }

  /// The structural similarity (Wang et al., 2004) of pixels in 0 … 255: `[B, 3, H, W]` each to `[B]`.
  ///
  /// Gaussian windows of 11 pixels (less where a picture is smaller) with σ 1.5 that lie inside the
  /// picture, K₁ 0.01, K₂ 0.03; the mean over places and channels.
  public static func ssim(_ a: Tensor, _ b: Tensor) -> Tensor {
    let (x, y) = (a.to(.float64), b.to(.float64))
    let side = min(11, a.length(2), a.length(3))
    let blur = Blur(side, device: a.device)
    let (mx, my) = (blur(x), blur(y))
    let (xx, yy, xy) = (blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my)
    let (c1, c2): (Double, Double) = (6.5025, 58.5225)  // (0.01 · 255)², (0.03 · 255)²
    let means = (mx * my * 2 + c1) / (mx * mx + my * my + c1)
    let contrasts = (xy * 2 + c2) / (xx + yy + c2)
    return (means * contrasts).mean(1, 2, 3)
  }

  /// A Gaussian window, one axis after the other.
  private struct Blur {
    let weight: Tensor  // [3, 1, n, 1]

    init(_ side: Int, device: Device) {
      let middle = Double(side - 1) / 2
      let window = (0..<side).map {
        Foundation.exp(-Foundation.pow((Double($0) - middle) / 1.5, 2) / 2)
      }
      let sum = window.reduce(0, +)
      weight = Tensor.of(window.map { $0 / sum }, device: device).reshape(1, 1, side, 1)
        .repeated(3, 1, 1, 1)
    }

    func callAsFunction(_ x: Tensor) -> Tensor {
      x.conv2d(weight, stride: (1, 1), padding: (0, 0), groups: 3)
        .conv2d(weight.transpose(2, 3), stride: (1, 1), padding: (0, 0), groups: 3)
    }
  }
}
