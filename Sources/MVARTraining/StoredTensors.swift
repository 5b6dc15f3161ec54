import MVAR
import Torch

extension RunFolder {
  /// Copies the tensors of a checkpoint's file into those of a run, by name.
  ///
  /// - Throws: ``TrainingError`` naming the file and the tensor that does not fit.
  static func read(_ tensors: [(name: String, tensor: Tensor)], from path: String) throws {
    let checkpoint = try Checkpoint(path)
    let source = CheckpointSource(file: path, tensors: checkpoint.tensors)
    let byName = Dictionary(checkpoint.tensors.map { ($0.name, $0) }) { first, _ in first }
    try withTorchErrors {
      try withoutGradient {
        for (name, tensor) in tensors {
          guard let stored = byName[name], stored.shape == tensor.shape else {
            throw TrainingError(
              .resume, "\(path): \(name) is missing or misshapen; this checkpoint is damaged")
          }
          try source.read(stored) { tensor.copyInPlace(from: $0) }
        }
      }
    }
  }
}
