import CheckpointFormats
import Foundation
import MVAR
import Torch
import TorchTestSupport

/// The tiny checkpoints of `Tests/Fixtures/checkpoints`, which `make.py` there wrote.
enum CheckpointFixture {
  /// Both models, nested in a training checkpoint: M-VAR of depth 1, width 64, scales 1 and 2.
  static let training = path("training.pth")
  /// VAR of the same shape, its names behind "module.", some weights transposed in memory.
  static let distributed = path("distributed.pth")
  /// 0 … 5 as `[2, 3]` in many types and layouts.
  static let layouts = path("layouts.pth")
  /// ``layouts`` with compressed records.
  static let compressed = path("compressed.pth")
  /// A pickle that calls `os.system`.
  static let malicious = path("malicious.pth")

  private static func path(_ name: String) -> String {
    URL(filePath: Golden.folder).deletingLastPathComponent().appending(path: "checkpoints/\(name)")
      .path
  }

  /// Named tensors, as ``TensorFile`` writes them.
  typealias Tensors = [(name: String, tensor: Tensor)]

  /// One model of ``training``, with its tensors in memory.
  static func tensors(_ role: Checkpoint.Role) throws -> Tensors {
    let checkpoint = try Checkpoint(training)
    let source = try checkpoint.source(role)
    return try checkpoint.parts[role]!.tensors.map { stored in
      (stored.name, try source.read(stored) { $0.clone() })
    }
  }

  /// Writes one model of ``training`` after `change` and gives the file's path.
  static func write(
    _ role: Checkpoint.Role, in folder: TemporaryFolder,
    changing change: (inout Tensors) -> Void = { _ in }
  ) throws -> String {
    var tensors = try tensors(role)
    change(&tensors)
    let path = folder.file("\(role.rawValue).safetensors")
    try TensorFile.write(tensors, to: path)
    return path
  }
}

extension CheckpointFixture.Tensors {
  mutating func remove(_ name: String) { removeAll { $0.name == name } }

  mutating func replace(_ name: String, with tensor: Tensor) {
    let index = firstIndex { $0.name == name }!
    self[index].tensor = tensor
  }

  /// Gives every tensor whose name begins with `prefix` another beginning.
  mutating func rename(_ prefix: String, to other: String) {
    self = map { name, tensor in
      (name.hasPrefix(prefix) ? other + name.dropFirst(prefix.count) : name, tensor)
    }
  }
}
