import Torch

/// What conditions a layer on the class: rows of gains, scales and shifts, one row for each image and the last for all
/// unconditional sequences.
public struct ModulationTable {
  /// `[conditions, columns]`.
  public let rows: Tensor

  public init(rows: Tensor) { self.rows = rows }
}

/// Where a sublayer's gain, scale and shift stand in a row of its table.
public struct ModulationColumns: Sendable {
  public let gain: Int
  public let scale: Int
  public let shift: Int

  public init(gain: Int, scale: Int, shift: Int) {
    (self.gain, self.scale, self.shift) = (gain, scale, shift)
  }
}

/// What a sublayer adds to the residual stream.
public struct SublayerOutput {
  /// `[parts, R, n, C]`.
  public let y: PartialSums
  /// float32 `[R, n, groups]`: sums of squares whose total, divided by `inner`, is the mean square that y has yet to be
  /// normalised by.
  public let squares: (sums: Tensor, inner: Int)?
  public let table: ModulationTable
  /// The column of the gain.
  public let gain: Int

  public init(
    y: PartialSums, squares: (sums: Tensor, inner: Int)? = nil, table: ModulationTable, gain: Int
  ) {
    (self.y, self.squares, self.table, self.gain) = (y, squares, table, gain)
  }
}

extension CUDAKernels {
  /// Ends a sublayer and begins the next: `x += γ·y`, in place, then `LN(x)·(1 + scale) + shift`.
  ///
  /// - Parameters:
  ///   - x: the residual stream `[R, n, C]`.
  /// - Returns: the next sublayer's input `[R, n, C]`.
  public func modulatedNorm(
    _ x: Tensor, adding output: SublayerOutput?, table: ModulationTable,
    columns: (scale: Int, shift: Int)
  ) -> Tensor {
    let out = Tensor.empty(x.shape, dtype: dtype, device: x.device)
    modulatedNorm(x, output, table, columns, into: out, scales: nil)
    return out
  }

  /// ``modulatedNorm(_:adding:table:columns:)`` to 8 bits.
  public func modulatedNormTo8(
    _ x: Tensor, adding output: SublayerOutput?, table: ModulationTable,
    columns: (scale: Int, shift: Int)
  ) -> RowsOf8Bits {
    let (R, n, _) = x.shape3
    let rows = RowsOf8Bits(
      values: .empty(x.shape, dtype: .uint8, device: x.device),
      scales: .empty([R * n, 1], device: x.device))
    modulatedNorm(x, output, table, columns, into: rows.values, scales: rows.scales)
    return rows
  }

  private func modulatedNorm(
    _ x: Tensor, _ output: SublayerOutput?, _ table: ModulationTable,
    _ columns: (scale: Int, shift: Int), into out: Tensor, scales: Tensor?
  ) {
    let (R, n, C) = x.shape3
    let gains = output?.table.rows ?? table.rows
    let y = output?.y
    // Registers for parts would leave room for fewer blocks.
    let isOfParts = (y?.parts.length(0) ?? 0) > 1
    // Where tokens are many, a block has 4, so that it reads modulations once for them.
    let areMany = !isOfParts && R * n >= 4096 && n >= 16
    let kernel =
      isOfParts ? modulatedNormOfParts : areMany ? modulatedNormOfMany : modulatedNormOfSum
    kernel(
      grid: (areMany ? (n + 3) / 4 : n, R, 1), threads: threads(for: C),
      overlaps: overlapsProduct(rows: R * n),
      [
        .tensor(x), .optional(y?.parts), .tensor(out), .tensor(gains), .tensor(table.rows),
        .optional(output?.squares?.sums), .int(C), .int(gains.length(1)), .int(output?.gain ?? 0),
        .int(table.rows.length(1)), .int(columns.scale), .int(columns.shift),
        .int(table.rows.length(0) - 1), .int(output?.squares?.sums.length(2) ?? 0),
        .int(output?.squares?.inner ?? 1), .optional(y?.bias), .int(y?.parts.length(0) ?? 0),
        .optional(scales), .int(n),
      ])
  }
}
