import Pictures
import Torch

extension Tensor {
  /// Pictures of one size as their bytes, `[B, 3, H, W]` uint8, brought to a device without waiting for
  /// it.
  ///
  /// Traps unless there is a picture and all are of one size.
  public static func bytes(of pictures: [Picture], device: Device) -> Tensor {
    let (height, width) = (pictures[0].height, pictures[0].width)
    let size = height * width * 3
    let bytes = [UInt8](unsafeUninitializedCapacity: pictures.count * size) { buffer, filled in
      for (index, picture) in pictures.enumerated() {
        precondition((picture.height, picture.width) == (height, width), "pictures of two sizes")
        picture.pixels.withUnsafeBufferPointer {
          (buffer.baseAddress! + index * size).initialize(from: $0.baseAddress!, count: size)
        }
      }
      filled = pictures.count * size
    }
    return Tensor.of(bytes, shape: [pictures.count, height, width, 3]).uploaded(to: device)
      .permute(0, 3, 1, 2)
  }
}
