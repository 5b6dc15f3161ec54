import Torch

/// A network whose inner features tell pictures apart as people do.
public protocol PerceptualNetwork: AnyObject {
  /// Features of several depths, each `[B, C, h, w]`, of pixels in [−1, 1] `[B, 3, H, W]`; gradients
  /// must reach the pixels, and need not reach the network.
  func features(of pixels: Tensor) -> [Tensor]
}

extension PerceptualNetwork {
  /// How different pictures look: the squared distance of features, of unit length at every place,
  /// averaged over places and depths (LPIPS, arXiv 1801.03924, with equal weights).
  ///
  /// - Returns: One element.
  func distance(_ pixels: Tensor, from original: Tensor) -> Tensor {
    let wanted = withoutGradient { features(of: original).map(Self.unit) }
    let found = features(of: pixels).map(Self.unit)
    let distances = zip(found, wanted).map { ($0 - $1).power(2).sum(1).mean() }
    return distances.dropFirst().reduce(distances[0], +) / Double(distances.count)
  }

  /// Unit vectors along the channels.
  private static func unit(_ features: Tensor) -> Tensor {
    let x = features.to(.float32)
    return x * ((x * x).sum(1, keepingAxes: true) + 1e-10).reciprocalSquareRoot()
  }
}
