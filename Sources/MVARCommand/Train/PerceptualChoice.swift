import MVARTraining
import Torch

/// The network of the perceptual loss, by the name that a user gives.
enum PerceptualChoice {
  /// - Parameter name: `none`, `efficientnet-lite0`, or the path of its weights.
  static func network(_ name: String, precision: DType, device: Device) throws -> (
    any PerceptualNetwork
  )? {
    switch name {
    case "none": return nil
    case "efficientnet-lite0":
      return try EfficientNetPerception(weights: nil, precision: precision, device: device)
    default: return try EfficientNetPerception(weights: name, precision: precision, device: device)
    }
  }
}
