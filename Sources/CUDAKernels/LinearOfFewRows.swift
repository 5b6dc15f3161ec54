import Torch

/// Which form of the kernel serves a product: tiles of 16 rows of x, tiles of 8 rows of the weight.
struct FewRowsForm: Hashable {
  static let largestRows = 80
  let rowTiles: Int
  let weightTiles: Int

  /// Nil where libtorch's product is to be used.
  init?(rows: Int, inputs: Int, outputs: Int) {
    guard (1...Self.largestRows).contains(rows), inputs % 256 == 0, outputs % 8 == 0 else {
      return nil
    }
    rowTiles = (rows + 15) / 16
    // Wide blocks read x less often; narrow ones are more, so that every multiprocessor has one.
    weightTiles = outputs < 2048 ? 1 : outputs < 4096 || rowTiles == 1 ? 2 : 4
  }

  static var all: [FewRowsForm] {
    (1...5).flatMap { rows in
      [1, 2, 4].filter { rows > 1 || $0 < 4 }.map { FewRowsForm(rowTiles: rows, weightTiles: $0) }
    }
  }

  private init(rowTiles: Int, weightTiles: Int) {
    (self.rowTiles, self.weightTiles) = (rowTiles, weightTiles)
  }

  var name: String { "linear_few_rows_\(rowTiles)_\(weightTiles)" }
  /// A sum for each of 8 warps.
  var sharedBytes: Int { 8 * 16 * rowTiles * 8 * weightTiles * 4 }
}

extension CUDAKernels {
  /// x · weightᵀ + bias, and GELU (tanh form) of it if asked for.
  ///
  /// For up to 80 rows a kernel that reads the weight as fast as memory gives it; libtorch's product for more.
  ///
  /// - Parameters:
  ///   - x: `[…, K]`, contiguous.
  ///   - weight: `[N, K]`.
  ///   - bias: `[N]`.
  /// - Returns: `[…, N]`.
  public func linear(_ x: Tensor, _ weight: Tensor, _ bias: Tensor?, gelu: Bool = false) -> Tensor {
    let (N, K) = weight.shape2
    let shape = x.shape
    let rows = shape.dropLast().reduce(1, *)
    guard let form = FewRowsForm(rows: rows, inputs: K, outputs: N), let kernel = fewRows[form]
    else {
      if gelu, let bias { return x.linearGELU(weight, bias) }
      return x.linear(weight, bias)
    }
    let y = Tensor.empty(shape.dropLast() + [N], dtype: dtype, device: x.device)
    let width = 8 * form.weightTiles
    kernel(
      grid: ((N + width - 1) / width, 1, 1), threads: 256, overlaps: true,
      [
        .tensor(x), .tensor(weight), .optional(bias), .tensor(y), .int(rows), .int(N), .int(K),
        .int(gelu ? 1 : 0),
      ])
    return y
  }
}
