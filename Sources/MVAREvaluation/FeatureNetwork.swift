import FeatureNetworks
import MVAR
import Torch

/// A network whose features stand for pictures.
public protocol FeatureNetwork {
  /// The length of ``NetworkFeatures/pooled``.
  var featureCount: Int { get }
  /// The length of ``NetworkFeatures/spatial``; nil where there is none.
  var spatialCount: Int? { get }
  /// The length of ``NetworkFeatures/logits``; nil where there is none.
  var classCount: Int? { get }

  /// - Parameter bytes: `[B, 3, H, W]` uint8
  func callAsFunction(_ bytes: Tensor) -> NetworkFeatures
}

/// What a network makes of a batch.
public struct NetworkFeatures {
  /// `[B, D]`
  public let pooled: Tensor
  /// `[B, S]`, for a distance that looks at places (sFID).
  public let spatial: Tensor?
  /// `[B, K]`, for the Inception score.
  public let logits: Tensor?

  public init(pooled: Tensor, spatial: Tensor? = nil, logits: Tensor? = nil) {
    (self.pooled, self.spatial, self.logits) = (pooled, spatial, logits)
  }
}

/// What a result was measured with; figures of different networks do not compare.
public struct NetworkIdentity: Sendable, Hashable, Codable {
  /// What the Fréchet distance of its features is called: "FID" for the published weights of FID's
  /// Inception alone.
  public let metric: String
  public let network: String
  /// SHA-256 of the weights.
  public let digest: String
  public let preprocessing: String

  public init(metric: String, network: String, digest: String, preprocessing: String) {
    (self.metric, self.network) = (metric, network)
    (self.digest, self.preprocessing) = (digest, preprocessing)
  }
}

/// Which network to measure with.
public enum NetworkChoice: Sendable {
  case inception(NetworkFile, preprocessing: InceptionV3.Preprocessing = .tensorFlow)
  case efficientNetLite0(NetworkFile)
  /// Any other, made on the device that it is to compute on.
  case custom(NetworkIdentity, make: @Sendable (Device) throws -> any FeatureNetwork)

  public var identity: NetworkIdentity {
    switch self {
    case .inception(let file, let preprocessing):
      NetworkIdentity(
        metric: file.isPublished(.inception) ? "FID" : "FD-Inception (other weights)",
        network: "inception-v3-2015-12-05", digest: file.digest,
        preprocessing: preprocessing.rawValue)
    case .efficientNetLite0(let file):
      NetworkIdentity(
        metric: file.isPublished(.efficientNetLite0)
          ? "FD-EfficientNet-Lite0" : "FD-EfficientNet-Lite0 (other weights)",
        network: "efficientnet-lite0", digest: file.digest, preprocessing: "bilinear-224")
    case .custom(let identity, _): identity
    }
  }

  func make(on device: Device) throws -> any FeatureNetwork {
    switch self {
    case .inception(let file, let preprocessing):
      try InceptionFeatures(network: .load(file, device: device), preprocessing: preprocessing)
    case .efficientNetLite0(let file):
      try EfficientNetFeatures(network: .load(file, device: device))
    case .custom(_, let make): try make(device)
    }
  }
}

/// FID's network.
struct InceptionFeatures: FeatureNetwork {
  let network: InceptionV3
  var preprocessing = InceptionV3.Preprocessing.tensorFlow

  var featureCount: Int { 2048 }
  var spatialCount: Int? { 2023 }
  var classCount: Int? { 1008 }

  func callAsFunction(_ bytes: Tensor) -> NetworkFeatures {
    let output = network(bytes, preprocessing: preprocessing)
    return NetworkFeatures(
      pooled: output.pooled, spatial: output.spatial, logits: output.logits)
  }
}

/// The network that needs no researcher's file. Pictures are brought to 224 × 224 pixels by a bilinear
/// filter that averages where it shrinks.
struct EfficientNetFeatures: FeatureNetwork {
  let network: EfficientNetLite0

  var featureCount: Int { EfficientNetLite0.featureCount }
  var spatialCount: Int? { nil }
  var classCount: Int? { nil }

  func callAsFunction(_ bytes: Tensor) -> NetworkFeatures {
    let (side, image) = (EfficientNetLite0.side, bytes.to(.float32) / 127.5 - 1)
    let isFitting = image.length(2) == side && image.length(3) == side
    let input = isFitting ? image : image.resizedBilinear(side, side, antialias: true)
    return NetworkFeatures(pooled: network.features(of: input))
  }
}
