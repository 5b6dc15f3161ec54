import Torch

extension CUDAKernels {
  /// Whether ``drawTokens(_:seeds:settings:progress:domain:spoiling:)`` can draw among so many tokens.
  public func draws(vocabulary V: Int) -> Bool {
    // Beside the keys in shared memory there are 33 KB of bins and candidates; tokens are counted in 16 bits.
    Self.keysFitRegisters(V) || V < 1 << 16 && 4 * V + 33 << 10 <= largestSharedMemory
  }

  /// 512 threads can keep 8 keys each to themselves; more lie in shared memory.
  private static func keysFitRegisters(_ V: Int) -> Bool { V <= 8 * 512 && V % 8 == 0 }

  /// A little less than the bins and candidates of a block.
  private static let drawBytes = 32 << 10

  /// Guidance, top-k, top-p and the draw, without sorting.
  ///
  /// Masses are integers of 31 bits behind the point, so that sums do not depend on their order.
  ///
  /// - Parameters:
  ///   - logits: `[2·B, n, V]`, the conditional half first.
  ///   - seeds: int64 `[B]`, the bits of each image's seed.
  ///   - settings: float32 `[B, 3]`: each image's guidance, top-p, top-k (0 for all).
  ///   - progress: k / (K − 1) of scale k.
  ///   - domain: what the random numbers are for, see `PhiloxStream`.
  ///   - fHat: float32 `[B, …]`: pictures of which no token can be drawn get a number here that is none, so that what is made
  ///     of them tells.
  /// - Returns: int64 `[B, n]`.
  public func drawTokens(
    _ logits: Tensor, seeds: Tensor, settings: Tensor, progress: Double, domain: UInt64,
    spoiling fHat: Tensor? = nil
  ) throws -> Tensor {
    let (R, n, V) = logits.shape3
    let tokens = Tensor.empty([R / 2, n], dtype: .int64, device: logits.device)
    // Blocks that begin while the product in front still runs would all share the few multiprocessors that it leaves free,
    // unless each needs more than half of one.
    let isSpread = n * R / 2 <= multiprocessors
    let draw =
      Self.keysFitRegisters(V)
      ? try kernel(
        "token_draw_in_registers",
        sharedBytes: isSpread ? max(0, largestSharedMemory / 2 - Self.drawBytes) : 0)
      : try kernel("token_draw", sharedBytes: 4 * V)
    draw(
      grid: (n, R / 2, 1), threads: 512, overlaps: overlapsProduct(rows: R * n),
      [
        .tensor(logits), .tensor(tokens), .tensor(seeds), .tensor(settings), .float(progress),
        .long(Int(domain)), .int(V), .optional(fHat),
        .int(fHat.map { $0.shape.dropFirst().reduce(1, *) } ?? 0),
      ])
    return tokens
  }
}
