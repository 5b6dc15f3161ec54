import Torch

/// How different two pictures look: the squared distance of the unit feature vectors at each place,
/// averaged over places and over the taps of a network (Zhang et al., arXiv 1801.03924, without learnt
/// weights).
///
/// With EfficientNet-Lite0 it is a figure of its own, and not LPIPS. It can be differentiated.
public struct PerceptualDistance {
  private let network: EfficientNetLite0

  public init(_ network: EfficientNetLite0) { self.network = network }

  /// Pixels in [−1, 1], `[B, 3, H, W]` each, to `[B]`.
  public func callAsFunction(_ a: Tensor, _ b: Tensor) -> Tensor {
    let pairs = zip(network.taps(of: a), network.taps(of: b))
    let distances = pairs.map { x, y in
      let difference = Self.unit(x) - Self.unit(y)
      return (difference * difference).sum(1).mean(1, 2)
    }
    return distances.dropFirst().reduce(distances[0]) { $0 + $1 } / Double(distances.count)
  }

  /// A vector of zeros stays one.
  private static func unit(_ x: Tensor) -> Tensor {
    x * ((x * x).sum(1, keepingAxes: true) + 1e-10).reciprocalSquareRoot()
  }
}
