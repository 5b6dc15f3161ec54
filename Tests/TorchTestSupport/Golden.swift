import CheckpointFormats
import Foundation
import MVAR
import Torch

/// One of the reference's recorded runs, in `Tests/Fixtures/golden`.
public struct Golden: Sendable, CustomStringConvertible {
  public let name: String

  public static let mvar256 = Golden(name: "mvar-256px")
  public static let mvar64 = Golden(name: "mvar-64px")
  public static let var128 = Golden(name: "var-128px")
  public static let all = [mvar256, mvar64, var128]

  public static let folder = URL(filePath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().appending(path: "Fixtures/golden").path
  public static let tokenizerFile = folder + "/tokenizer.pth"

  public var description: String { name }
  public var modelFile: String {
    Self.folder + "/\(name)/" + (name.hasPrefix("var") ? "var.pth" : "mvar.pth")
  }

  public struct Case: Decodable {
    public let patch_nums: [Int]
    public let cfg: Double
    public let labels: [Int]
    public let classes: Int
    public let depth: Int
  }

  public func settings() throws -> Case {
    let data = try Data(contentsOf: URL(filePath: Self.folder + "/\(name)/case.json"))
    return try JSONDecoder().decode(Case.self, from: data)
  }

  public func schedule() throws -> ScaleSchedule {
    try ScaleSchedule(squares: settings().patch_nums)
  }

  /// A recorded tensor.
  public func tensor(_ key: String) throws -> Tensor {
    let file = try SafetensorsFile(Self.folder + "/\(name)/io.safetensors")
    let source = CheckpointSource(file: file.file, tensors: file.tensors)
    let stored = file.tensors.first { $0.name == key }!
    return try source.read(stored) { $0.clone() }
  }

  /// Whether there is a recorded tensor of this name.
  public func has(_ key: String) -> Bool { count(withPrefix: key) > 0 }

  /// How many recorded tensors have names that begin so.
  public func count(withPrefix prefix: String) -> Int {
    let file = try? SafetensorsFile(Self.folder + "/\(name)/io.safetensors")
    return file?.tensors.count { $0.name.hasPrefix(prefix) } ?? 0
  }

  /// The recorded images as a tokenizer reads them, `[B, 3, H, W]` in [−1, 1].
  public func image() throws -> Tensor {
    try tensor("image.uint8").to(.float32) * (1 / 127.5) - 1
  }
}
