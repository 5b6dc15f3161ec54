import CheckpointFormats
import Torch

extension Checkpoint {
  /// Writes a checkpoint's tensors to a safetensors file, one after the other.
  ///
  /// - Parameters:
  ///   - role: Which part to write, under its published names; nil for the only part, or for all
  ///     tensors under their full names where there is none.
  ///   - dtype: What floating-point tensors become; nil to keep theirs.
  ///   - progress: Called with the number of tensors written and of all.
  /// - Throws: ``MVARError`` if the file has several parts and `role` is nil; what reading and writing
  ///   throw. Nothing is left of an unfinished file.
  public func convert(
    to path: String, role: Role? = nil, dtype: DType? = nil,
    progress: (Int, Int) throws -> Void = { _, _ in }
  ) throws {
    try LibTorch.load()
    let chosen = try tensors(of: role)
    let source = CheckpointSource(file: file, tensors: chosen)
    let byName = Dictionary(chosen.map { ($0.name, $0) }) { first, _ in first }
    let writer = try SafetensorsWriter(
      path,
      tensors: chosen.map {
        TensorDeclaration(
          name: $0.name, elementType: ElementType(Self.target($0, dtype)), shape: $0.shape)
      }, metadata: notes.merging(["format": "pt"]) { $1 })
    do {
      for (index, declared) in writer.order.enumerated() {
        let stored = byName[declared.name]!
        try source.read(stored) { tensor in
          let converted = try withTorchErrors { tensor.to(Self.target(stored, dtype)).contiguous() }
          try writer.write(tensorNamed: declared.name, bytes: converted.bytes())
        }
        try progress(index + 1, chosen.count)
      }
      try writer.finish()
    } catch {
      writer.abandon()
      throw error
    }
  }

  private func tensors(of role: Role?) throws(MVARError) -> [StoredTensor] {
    if let role {
      guard let part = parts[role] else {
        throw MVARError(.checkpoint, "\(file): no \(role.rawValue) in this checkpoint")
      }
      return part.tensors
    }
    guard parts.count < 2 else {
      throw MVARError(
        .checkpoint, "\(file): it holds a model and a tokenizer; choose one with --part")
    }
    return parts.values.first?.tensors ?? tensors
  }

  private static func target(_ tensor: StoredTensor, _ dtype: DType?) -> DType {
    let own = DType(tensor.elementType)
    return own.isFloatingPoint ? dtype ?? own : own
  }
}
