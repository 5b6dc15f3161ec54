import Torch

/// How a product of some dozens of rows is cut into blocks, one to a multiprocessor: `linear_wgmma.cu`.
struct MatrixUnitsForm: Hashable {
  /// The rows of x that there are kernels for. With 256, libtorch's product was faster.
  static let tokenCounts = [24, 32, 40, 48, 56, 64, 72, 96, 128, 144, 200]
  /// So many rows at most where neither side is longer than ``FewRowsForm/narrow``: `linear_few_rows.cu` is as fast there.
  private static let fewOfNarrow = 32
  private static let fewOfWide = 16
  /// The rows of the weight that a block has, in eights.
  private static let widths = 2...8
  static let mostSharedBytes = 200 << 10
  private static let mostStages = 24

  /// What rows of x are rounded up to.
  let tokens: Int
  let columns: Int
  /// Sums that are left to the next kernel.
  let parts: Int
  /// Steps of 64 numbers of K that are in shared memory at once.
  let stages: Int
  let sharedBytes: Int

  /// Nil where another product is to be used.
  ///
  /// - Parameters:
  ///   - parts: how many sums may be left to the next kernel.
  ///   - tokenCounts: The rows that there are kernels for, in order.
  ///   - fewest: rows; nil for as many as are faster this way.
  init?(
    rows: Int, inputs: Int, outputs: Int, parts: [Int], multiprocessors: Int,
    tokenCounts: [Int] = Self.tokenCounts, fewest: Int? = nil
  ) {
    let few = min(inputs, outputs) <= FewRowsForm.narrow ? Self.fewOfNarrow : Self.fewOfWide
    guard rows >= fewest ?? few + 1, outputs % 2 == 0,
      let tokens = tokenCounts.first(where: { $0 >= rows })
    else { return nil }
    var best: (form: MatrixUnitsForm, cost: Int)?
    for columns in Self.widths {
      for count in parts where inputs % (128 * count) == 0 {
        let (width, share) = (8 * columns, inputs / count)
        let blocks = (outputs + width - 1) / width * count
        guard blocks <= multiprocessors else { continue }
        // Bytes that a multiprocessor takes in, of which the weight's come early as far as there is room. Parts are written
        // and read again by few blocks, which was measured to take as long as 16 times as many.
        let weight = 2 * width * share
        let cost =
          2 * tokens * share + weight / 3 + max(0, weight - 130_000)
          + 16 * 2 * count * rows * outputs / multiprocessors
        if cost < best?.cost ?? .max {
          best = (
            MatrixUnitsForm(tokens: tokens, columns: columns, parts: count, steps: share / 64), cost
          )
        }
      }
    }
    guard let best else { return nil }
    self = best.form
  }

  private init(tokens: Int, columns: Int, parts: Int, steps: Int) {
    (self.tokens, self.parts, self.columns) = (tokens, parts, columns)
    let stageBytes = 1024 * columns + 128 * tokens
    // 64 rows are read, also from where the last stage begins.
    let room = 1023 + max(0, 64 * 128 - stageBytes)
    stages = min(steps, Self.mostStages, (Self.mostSharedBytes - room) / stageBytes) / 2 * 2
    sharedBytes = max(stages * stageBytes + room, 1023 + 128 * 16 * tokens / 8)
  }

  static let threads = 288
  static func name(tokens: Int) -> String { "linear_wgmma_\(tokens)" }
}

extension CUDAKernels {
  func matrixUnitsForm(rows: Int, _ weight: Tensor, parts: [Int]) -> MatrixUnitsForm? {
    guard !productsOnMatrixUnits.isEmpty else { return nil }
    let (N, K) = weight.shape2
    return MatrixUnitsForm(
      rows: rows, inputs: K, outputs: N, parts: parts, multiprocessors: multiprocessors)
  }

  /// x · weightᵀ + bias into `[parts, rows, N]`.
  func multiply(
    _ form: MatrixUnitsForm, _ x: Tensor, _ weight: Tensor, _ bias: Tensor?, into y: Tensor,
    rows: Int, gelu: Bool
  ) {
    let (N, K) = weight.shape2
    let width = 8 * form.columns
    productsOnMatrixUnits[form.tokens]!(
      grid: ((N + width - 1) / width, form.parts, 1), threads: MatrixUnitsForm.threads,
      sharedBytes: form.sharedBytes, overlaps: true,
      matrices: [
        CUDAKernel.Matrix(x, rows: rows, columns: K, boxRows: form.tokens),
        CUDAKernel.Matrix(weight, rows: N, columns: K, boxRows: width),
      ],
      [
        .optional(bias), .tensor(y), .int(rows), .int(N), .int(K), .int(form.columns),
        .int(form.stages), .int(gelu ? 1 : 0),
      ])
  }
}
