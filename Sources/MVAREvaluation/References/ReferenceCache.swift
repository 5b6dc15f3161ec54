import CheckpointFormats
import Foundation
import MVAR
import Torch

/// A folder in which measured references are kept: measuring 50,000 pictures takes a while, reading the
/// result does not.
public struct ReferenceCache: Sendable, Hashable {
  public let folder: String

  public init(folder: String) { self.folder = folder }

  /// `$XDG_CACHE_HOME/mvar/references`, or `~/.cache/mvar/references`.
  public static var standard: ReferenceCache {
    let environment = ProcessInfo.processInfo.environment
    let cache =
      environment["XDG_CACHE_HOME"] ?? "\(environment["HOME"] ?? NSHomeDirectory())/.cache"
    return ReferenceCache(folder: "\(cache)/mvar/references")
  }

  /// What a measurement depends on.
  struct Key {
    let text: String

    init(_ network: NetworkIdentity, usesTF32: Bool, pictures: String) {
      text =
        "1 \(network.network) \(network.digest) \(network.preprocessing) "
        + "\(usesTF32 ? "tf32" : "float32") \(pictures)"
    }

    var file: String {
      var hash = StableHash()
      hash.add(text)
      return "\(hash.text).safetensors"
    }
  }

  /// Nil where there is nothing, or nothing that can be read.
  func read(_ key: Key, _ network: NetworkIdentity) -> SetStatistics? {
    guard let file = try? SafetensorsFile("\(folder)/\(key.file)"),
      file.metadata["key"] == key.text, let count = file.metadata["count"].flatMap({ Int($0) })
    else { return nil }
    let tensors = Dictionary(uniqueKeysWithValues: file.tensors.map { ($0.name, $0) })
    let source = CheckpointSource(file: file.file, tensors: file.tensors)
    func doubles(_ name: String) throws -> [Double]? {
      try tensors[name].map { try source.read($0) { try $0.elements(as: Double.self) } }
    }
    func gaussian(_ suffix: String) throws -> GaussianStatistics? {
      guard let mean = try doubles("mu\(suffix)"), let covariance = try doubles("sigma\(suffix)")
      else { return nil }
      return try GaussianStatistics(count: count, mean: mean, covariance: covariance)
    }
    guard let pooled = try? gaussian("") else { return nil }
    let features = try? tensors["features"].map { stored in
      try source.read(stored) { try $0.elements(as: Float.self) }
    }
    let scores = file.metadata["scores"].flatMap {
      try? JSONDecoder().decode(SetStatistics.Scores.self, from: Data($0.utf8))
    }
    return SetStatistics(
      network: network, count: count, pooled: pooled, spatial: (try? gaussian("_s")) ?? nil,
      features: features ?? nil, scores: scores)
  }

  func write(_ statistics: SetStatistics, _ key: Key) throws {
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    var tensors = Self.tensors(statistics.pooled, "")
    if let spatial = statistics.spatial { tensors += Self.tensors(spatial, "_s") }
    if let features = statistics.features {
      let D = statistics.pooled.dimension
      tensors.append(("features", .of(features, shape: [features.count / D, D])))
    }
    var notes = ["key": key.text, "count": "\(statistics.count)"]
    if let scores = statistics.scores {
      notes["scores"] = String(decoding: try JSONEncoder().encode(scores), as: UTF8.self)
    }
    try TensorFile.write(tensors, to: "\(folder)/\(key.file)", metadata: notes)
  }

  private static func tensors(_ s: GaussianStatistics, _ suffix: String) -> [(
    name: String, tensor: Tensor
  )] {
    let D = s.dimension
    return [
      ("mu\(suffix)", .of(s.mean)), ("sigma\(suffix)", .of(s.covariance, shape: [D, D])),
    ]
  }
}
