import CheckpointFormats
import Foundation
import MVAR
import Pictures
import Torch

/// `Tests/Fixtures/evaluation`: what torch-fidelity, pytorch-fid and efficientnet-lite-pytorch make of
/// the pictures and the weights by formula. `make.py` there wrote it.
public enum Expected {
  public static let folder = URL(filePath: Golden.folder).deletingLastPathComponent()
    .appending(path: "evaluation").path

  public static func tensor(_ name: String, in file: String = "expected.safetensors") throws
    -> Tensor
  {
    let file = try SafetensorsFile("\(folder)/\(file)")
    let source = CheckpointSource(file: file.file, tensors: file.tensors)
    return try source.read(file.tensors.first { $0.name == name }!) { $0.clone() }
  }

  public struct Score: Decodable, Sendable {
    public let mean: Double
    public let std: Double
  }

  public struct Figures: Decodable, Sendable {
    public let fid: Double
    public let sfid: Double
    /// pytorch-fid's distance of torch-fidelity's features.
    public let fid_by_pytorch_fid: Double
    public let inception_score_1: Score
    public let inception_score_3: Score
    public let precision_1: Double
    public let precision_3: Double
    public let recall_1: Double
    public let recall_3: Double
    public let kid: Double
  }

  public static func figures() throws -> Figures {
    let data = try Data(contentsOf: URL(filePath: folder + "/expected.json"))
    return try JSONDecoder().decode(Figures.self, from: data)
  }

  /// The indices of the pictures that stand for real ones, and for generated ones.
  public static let real = 0..<16
  public static let generated = 100..<112

  public static func pictures(_ indices: Range<Int>) -> [Picture] {
    indices.map {
      Picture(
        width: FormulaPictures.side, height: FormulaPictures.side,
        pixels: FormulaPictures.pixels($0))
    }
  }

  /// Each pixel four times in both directions, cut to 224 by 224, in [−1, 1]: `[B, 3, 224, 224]`.
  public static func enlarged(_ indices: Range<Int>) -> Tensor {
    let small = Tensor.of(
      indices.flatMap(FormulaPictures.pixels),
      shape: [indices.count, FormulaPictures.side, FormulaPictures.side, 3])
    let large = small.to(.float32).permute(0, 3, 1, 2).resizedNearest(256, 256)
    return large.slice(2, 0..<224).slice(3, 0..<224).contiguous() / 127.5 - 1
  }
}

/// The largest difference of two tensors over the largest number of the expected one.
public func relativeDistance(_ a: Tensor, _ expected: Tensor) throws -> Double {
  try distance(a, expected) / expected.absolute().reshape(-1).max(0).item()
}
