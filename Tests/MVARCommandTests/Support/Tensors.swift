import CheckpointFormats
import Foundation
import MVAR
import Torch
import TorchTestSupport

/// The tensors of a safetensors file in memory, in the file's order.
func tensors(of path: String) throws -> [(name: String, tensor: Tensor)] {
  try LibTorch.load()
  let checkpoint = try Checkpoint(path)
  let source = CheckpointSource(file: path, tensors: checkpoint.tensors)
  return try checkpoint.tensors.map { ($0.name, try source.read($0) { $0.clone() }) }
}

/// Files of `Tests/Fixtures`.
func fixture(_ name: String) -> String {
  URL(filePath: Golden.folder).deletingLastPathComponent().appending(path: name).path
}

extension Golden {
  /// Arguments that sample from this model into "out", exactly.
  var sampling: [String] {
    ["sample", "--model", modelFile, "--tokenizer", Golden.tokenizerFile, "--out", "out"]
      + Mvar.exact
  }
}
