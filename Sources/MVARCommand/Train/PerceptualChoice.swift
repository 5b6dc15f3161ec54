import FeatureNetworks
import MVARTraining
import Torch

/// The network of the perceptual loss, by the name that a user gives.
enum PerceptualChoice {
  /// - Parameter name: `efficientnet-lite0`, the path of its weights, or `lpips:` and files; nil for
  ///   EfficientNet-Lite0 where it usually lies.
  static func network(_ name: String?, precision: DType, device: Device) throws
    -> any PerceptualNetwork
  {
    if let name, let files = try lpips(name) {
      return try LPIPSPerception(files: files, precision: precision, device: device)
    }
    let weights = name == "efficientnet-lite0" ? nil : name
    return try EfficientNetPerception(weights: weights, precision: precision, device: device)
  }

  /// The files that a name gives for LPIPS; nil for another network's.
  private static func lpips(_ name: String) throws -> LPIPSFiles? {
    if name == "lpips" { return try LPIPSFiles(parsing: "") }
    guard name.hasPrefix("lpips:") else { return nil }
    return try LPIPSFiles(parsing: String(name.dropFirst("lpips:".count)))
  }
}
