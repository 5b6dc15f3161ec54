import Torch

/// The learned perceptual image patch similarity with VGG16, version 0.1 (Zhang et al., arXiv
/// 1801.03924, section 3 and equation 1): how different two pictures look.
///
/// Channels of unit feature vectors are weighed as people's judgements taught. It can be differentiated
/// with respect to the pictures.
public struct LPIPS {
  /// Pictures can be no smaller, in pixels along a side.
  public static let smallestSide = VGG16.smallestSide

  private var network: VGG16
  private let weights: [Tensor]  // [1, C, 1, 1] each, float32
  private let shift: Tensor  // [3, 1, 1]
  private let scale: Tensor  // [3, 1, 1]

  /// - Parameter linear: Where `lin0.model.1.weight` … `lin4.model.1.weight` are, `[1, C, 1, 1]` each.
  public init(_ network: VGG16, linear: Parameters) {
    self.init(network, weights: Self.weights(linear), device: linear.device)
  }

  init(_ network: VGG16, weights: [Tensor], device: Device) {
    self.network = network
    self.weights = weights
    // ImageNet's means and deviations for pixels in [−1, 1], as `lpips` rounds them (`ScalingLayer`).
    shift = .of([-0.030, -0.088, -0.188] as [Float], shape: [3, 1, 1], device: device)
    scale = .of([0.458, 0.448, 0.450] as [Float], shape: [3, 1, 1], device: device)
  }

  /// The weights of the channels of every block.
  static func weights(_ p: Parameters) -> [Tensor] {
    VGG16.widths.enumerated().map { index, width in
      (p / "lin\(index)" / "model" / 1).tensor("weight", 1, width, 1, 1, dtype: .float32)
    }
  }

  /// The same with a network that computes in another precision; distances stay float32.
  public func converted(to dtype: DType) -> LPIPS {
    var distance = self
    distance.network = network.converted(to: dtype)
    return distance
  }

  /// Pixels in [−1, 1], `[B, 3, H, W]` each, to `[B]`.
  public func callAsFunction(_ a: Tensor, _ b: Tensor) -> Tensor {
    distance(features(of: a), features(of: b))
  }

  /// What ``distance(_:_:)`` compares: pixels in [−1, 1] `[B, 3, H, W]` to features of five depths,
  /// `[B, C, h, w]` each.
  public func features(of pixels: Tensor) -> [Tensor] {
    network.taps(of: ((pixels.to(.float32) - shift) / scale).to(network.dtype))
  }

  /// The distance of features, the sum over depths: `[B]`.
  public func distance(_ a: [Tensor], _ b: [Tensor]) -> Tensor {
    let layers = layers(a, b)
    return layers.dropFirst().reduce(layers[0], +)
  }

  /// The part of each depth in the distance, the mean over places: `[B]` each.
  func layers(_ a: [Tensor], _ b: [Tensor]) -> [Tensor] {
    zip(zip(a, b), weights).map { pair, weight in
      let difference = pair.0.unitChannels() - pair.1.unitChannels()
      return (difference.power(2) * weight).sum(1).mean(1, 2)
    }
  }
}
