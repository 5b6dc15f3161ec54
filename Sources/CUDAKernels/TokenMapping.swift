import Torch

/// How codes become a part of f̂: the codebook and one φ, all float32 and contiguous.
public struct TokenMapWeights {
  let codebook: Tensor  // [V, C]
  let weight: Tensor  // [C, C, 3, 3]
  let bias: Tensor  // [C]

  public init(codebook: Tensor, weight: Tensor, bias: Tensor) {
    (self.codebook, self.weight, self.bias) = (codebook, weight, bias)
  }
}

extension CUDAKernels {
  /// Whether ``addTokenMap(_:_:to:isFirst:size:next:)`` can hold f̂ of this shape.
  public func holdsTokenMap(channels C: Int, height: Int, width: Int, tokens: Int) -> Bool {
    C % 8 == 0 && width % 2 == 0
      && tokenMapBytes(C, height, width, tokens, next: tokens, strips: 1) <= largestSharedMemory
  }

  private func tokenMapBytes(
    _ C: Int, _ H: Int, _ W: Int, _ tokens: Int, next: Int, strips: Int
  ) -> Int {
    let rows = (H + strips - 1) / strips
    let plane = (rows + 2) * (W + 2) | 1
    return 4 * (C * plane + 3 + 36 * C + 32 + 4 * rows * W + 4 * next + tokens)
  }

  /// Adds φ of a scale's enlarged codes to f̂, and averages the sum over the areas of the next scale's tokens.
  ///
  /// - Parameters:
  ///   - tokens: int64 `[B, h·w]`.
  ///   - fHat: float32 `[B, C, H, W]`, changed in place; only written if this is the first scale.
  ///   - size: (h, w).
  ///   - next: (h, w) of the next scale; nil after the last.
  /// - Returns: `[B, h·w, C]` of the next scale.
  public func addTokenMap(
    _ tokens: Tensor, _ weights: TokenMapWeights, to fHat: Tensor, isFirst: Bool,
    size: (h: Int, w: Int), next: (h: Int, w: Int)?
  ) throws -> Tensor? {
    let (B, C, H, W) = fHat.shape4
    let input = next.map { Tensor.empty([B, $0.h * $0.w, C], dtype: dtype, device: fHat.device) }
    // Where multiprocessors are free, four blocks share the rows of a picture.
    let strips = hasClusters && B * C <= multiprocessors ? 4 : 1
    let needed = tokenMapBytes(
      C, H, W, size.h * size.w, next: next.map { $0.h * $0.w } ?? 0, strips: strips)
    let withCodes = needed + 4 * C * size.h * size.w
    let staged = withCodes <= largestSharedMemory
    let name = strips == 1 ? "token_map" : "token_map_of_\(strips)"
    try kernel(name, sharedBytes: staged ? withCodes : needed)(
      grid: (strips * C / 4, B, 1), threads: 1024, overlaps: true,
      [
        .tensor(tokens), .tensor(weights.codebook), .tensor(weights.weight), .tensor(weights.bias),
        .tensor(fHat), .optional(input), .int(C), .int(size.h), .int(size.w), .int(H), .int(W),
        .int(next?.h ?? 0), .int(next?.w ?? 0), .int(isFirst ? 1 : 0),
        .int(staged ? 1 : 0),
      ])
    return input
  }
}
