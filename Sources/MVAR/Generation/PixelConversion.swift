import Pictures
import Torch

extension Tensor {
  /// Pictures of one size as a tokenizer reads them, `[B, 3, H, W]` in [−1, 1], float32.
  static func pixels(_ pictures: [Picture], device: Device) -> Tensor {
    let (H, W) = (pictures[0].height, pictures[0].width)
    let bytes = Tensor.of(pictures.flatMap(\.pixels), shape: [pictures.count, H, W, 3])
    return bytes.to(.float32, device: device).permute(0, 3, 1, 2).contiguous() * (1 / 127.5) - 1
  }

  /// `[B, 3, H, W]` in [0, 1] as pictures; bytes are ×255 and cut, as in the reference.
  ///
  /// - Throws: ``MVARError`` for pixels that are no numbers, which as bytes would be black.
  package func pictures() throws -> [Picture] {
    let (B, _, H, W) = shape4
    guard try !reshape(-1).sum(0).item().isNaN else {
      throw MVARError.noNumbers("the tokenizer's pixels")
    }
    let bytes = try (self * 255).to(.uint8).permute(0, 2, 3, 1).contiguous()
      .elements(as: UInt8.self)
    return (0..<B).map { index in
      let count = H * W * 3
      return Picture(
        width: W, height: H, pixels: Array(bytes[index * count..<(index + 1) * count]))
    }
  }
}

extension MVARError {
  /// For what weights make that are no numbers, or too large for their type.
  static func noNumbers(_ what: String) -> MVARError {
    MVARError(
      .checkpoint,
      "\(what) are no numbers; the weights are damaged, or try --dtype float32 or less guidance")
  }
}
