import CheckpointFormats
import Torch

/// Tensors in a safetensors file.
public enum TensorFile {
  /// Writes all or nothing: a file that could not be finished is not left behind.
  public static func write(
    _ tensors: [(name: String, tensor: Tensor)], to path: String, metadata: [String: String] = [:]
  ) throws {
    let byName = Dictionary(uniqueKeysWithValues: tensors.map { ($0.name, $0.tensor) })
    let writer = try SafetensorsWriter(
      path,
      tensors: tensors.map {
        TensorDeclaration(
          name: $0.name, elementType: ElementType($0.tensor.dtype), shape: $0.tensor.shape)
      }, metadata: metadata)
    do {
      for declared in writer.order {
        try writer.write(tensorNamed: declared.name, bytes: byName[declared.name]!.bytes())
      }
      try writer.finish()
    } catch {
      writer.abandon()
      throw error
    }
  }
}
