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
    C % 4 == 0 && Self.tokenMapBytes(C, height, width, tokens) <= largestSharedMemory
  }

  private static func tokenMapBytes(_ C: Int, _ H: Int, _ W: Int, _ tokens: Int) -> Int {
    4 * (C * ((H + 2) * (W + 2) + 1) + 3 + 36 * C + 16 + 4 * H * W + tokens)
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
    let needed = Self.tokenMapBytes(C, H, W, size.h * size.w)
    let withCodes = needed + 4 * C * size.h * size.w
    let staged = withCodes <= largestSharedMemory
    try kernel("token_map", sharedBytes: staged ? withCodes : needed)(
      grid: (C / 4, B, 1), threads: 1024, overlaps: true,
      [
        .tensor(tokens), .tensor(weights.codebook), .tensor(weights.weight), .tensor(weights.bias),
        .tensor(fHat), .optional(input), .int(C), .int(size.h), .int(size.w), .int(H), .int(W),
        .int(next?.h ?? 0), .int(next?.w ?? 0), .int(isFirst ? 1 : 0),
        .int(staged ? 1 : 0),
      ])
    return input
  }
}
