import Torch

/// How different two pictures look: the squared distance of the unit feature vectors at each place,
/// averaged over places and over the taps of a network (Zhang et al., arXiv 1801.03924, without learnt
/// weights).
///
/// With EfficientNet-Lite0 it is a figure of its own, and not ``LPIPS``. It can be differentiated.
public struct PerceptualDistance {
  private let network: EfficientNetLite0

  public init(_ network: EfficientNetLite0) { self.network = network }

  /// Pixels in [−1, 1], `[B, 3, H, W]` each, to `[B]`.
  public func callAsFunction(_ a: Tensor, _ b: Tensor) -> Tensor {
    Self.between(network.taps(of: a), network.taps(of: b))
  }

  /// The distance of features of several depths, `[B, C, h, w]` each: `[B]`.
  public static func between(_ a: [Tensor], _ b: [Tensor]) -> Tensor {
    let distances = zip(a, b).map { x, y in
      (x.unitChannels() - y.unitChannels()).power(2).sum(1).mean(1, 2)
    }
    return distances.dropFirst().reduce(distances[0], +) / Double(distances.count)
  }
}
