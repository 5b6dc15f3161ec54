import Torch

/// Everything that a sampling run decided, for comparison with other implementations.
struct SamplingTrace {
  private var tensors: [(name: String, tensor: Tensor)] = []

  mutating func add(_ scale: ScaleDrawing.Scale) {
    tensors.append(("tokens.\(scale.index)", scale.tokens))
    if let logits = scale.logits { tensors.append(("logits.\(scale.index)", logits)) }
  }

  /// `tokens.k` `[B, n_k]` int64, `logits.k` `[2 B, n_k, V]` float32 (before guidance, conditional
  /// rows first), `image` `[B, 3, H, W]` float32 in [0, 1].
  func write(image: Tensor, to path: String) throws {
    try TensorFile.write(tensors + [("image", image)], to: path)
  }
}
