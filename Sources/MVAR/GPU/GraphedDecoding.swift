import Torch

/// Decoding in slices of fixed sizes, each a CUDA graph, so that memory stays bounded however many images there are.
final class GraphedDecoding {
  /// The largest slice; more at once is not faster.
  static let slice = 32
  private let decoder: FusedDecoder
  private var slices: [Int: Slice] = [:]
  private var memory = GraphMemory()

  private struct Slice {
    let fHat: Tensor
    var work: RecordedWork<Tensor>
  }

  init(_ decoder: FusedDecoder) { self.decoder = decoder }

  /// f̂ `[B, Cvae, h, w]` → images `[B, 3, H, W]` in [−1, 1], float32.
  func callAsFunction(fHat: Tensor) throws -> Tensor {
    let B = fHat.length(0)
    do {
      let images = try stride(from: 0, to: B, by: Self.slice).map { start in
        try decode(fHat.slice(0, start..<min(start + Self.slice, B)))
      }
      return images.count == 1 ? images[0] : .concatenate(images, axis: 0)
    } catch let error as TorchError where error.kind == .outOfMemory {
      release()
      throw error
    }
  }

  /// Gives back the memory of all graphs; they are recorded anew when they are needed.
  func release() {
    slices = [:]
    memory = GraphMemory()
  }

  private func decode(_ fHat: Tensor) throws -> Tensor {
    let (B, C, h, w) = fHat.shape4
    let size = PaddedBatch.size(for: B)
    var slice =
      slices[size]
      ?? Slice(
        fHat: .zeros([size, C, h, w], device: fHat.device), work: RecordedWork(memory))
    slice.fHat.slice(0, 0..<B).copyInPlace(from: fHat)
    let input = slice.fHat
    let image = try slice.work.run { try decoder(fHat: input) }
    slices[size] = slice
    // The next slice overwrites what a graph gave.
    return image.slice(0, 0..<B).clone()
  }
}

/// Batch sizes that graphs are recorded for.
enum PaddedBatch {
  /// The smallest of them that holds `count`: powers of two up to 16, multiples of 16 up to 64, then of 32.
  static func size(for count: Int) -> Int {
    for size in [1, 2, 4, 8] where count <= size { return size }
    let step = count <= 64 ? 16 : 32
    return (count + step - 1) / step * step
  }

  /// All of them that batches of up to `most` images need, ascending.
  static func sizes(upTo most: Int) -> [Int] {
    var sizes: [Int] = []
    while (sizes.last ?? 0) < most { sizes.append(size(for: (sizes.last ?? 0) + 1)) }
    return sizes
  }
}
