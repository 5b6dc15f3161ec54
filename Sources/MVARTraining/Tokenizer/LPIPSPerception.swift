import FeatureNetworks
import Torch

/// LPIPS as a perceptual loss, as VQGAN and VAR train with it.
public final class LPIPSPerception: PerceptualNetwork {
  private let network: LPIPS

  /// - Parameter precision: What VGG16 computes in.
  /// - Throws: `MVARError` where a file does not fit, and `CheckpointFormatError` where one cannot be
  ///   read.
  public init(files: LPIPSFiles, precision: DType = .float32, device: Device) throws {
    network = try LPIPS.load(files, device: device).converted(to: precision)
  }

  public var smallestSide: Int { LPIPS.smallestSide }

  public func distance(_ pixels: Tensor, from original: Tensor) -> Tensor {
    let wanted = withoutGradient { network.features(of: original) }
    return network.distance(network.features(of: pixels), wanted).mean()
  }
}
