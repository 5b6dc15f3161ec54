import Torch

/// Which form of the kernel for few rows serves a product: tiles of 8 rows of x.
struct FewRowsForm: Hashable {
  static let largestRows = 32
  /// What one step of K is, and the rows of the weight that a block has.
  static let (depth, width) = (128, 32)
  let tiles: Int

  /// Nil where libtorch's product is to be used.
  init?(rows: Int, inputs: Int, outputs: Int) {
    guard (1...Self.largestRows).contains(rows), inputs % Self.depth == 0, outputs % 2 == 0 else {
      return nil
    }
    tiles = (rows + 7) / 8
  }

  private init(tiles: Int) { self.tiles = tiles }

  static var all: [FewRowsForm] { (1...4).map(FewRowsForm.init(tiles:)) }

  var name: String { "linear_few_rows_\(tiles)" }

  /// Steps of K that are under way or in use.
  private var stages: Int { [10, 9, 7, 6][tiles - 1] }

  var sharedBytes: Int { stages * (Self.width + 8 * tiles) * (Self.depth + 8) * 2 }
}

extension CUDAKernels {
  /// x · weightᵀ + bias, and GELU (tanh form) of it if asked for.
  ///
  /// For up to 32 rows a kernel that reads the weight as fast as memory gives it, for up to a few hundred one that cuts the
  /// product into tiles, and libtorch's product for more.
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
    guard let form = FewRowsForm(rows: rows, inputs: K, outputs: N) else {
      if let product = tiledProduct(rows: rows, weight, parts: [1]) {
        return multiply(product, x, weight, bias, gelu: gelu).squeeze(0)
      }
      if gelu, let bias { return x.linearGELU(weight, bias) }
      return x.linear(weight, bias)
    }
    let y = Tensor.empty(shape.dropLast() + [N], dtype: dtype, device: x.device)
    multiply(form, x, weight, bias, into: y, rows: rows, parts: 1, gelu: gelu)
    return y
  }

  /// x · weightᵀ + bias as a sum that the next kernel makes, which lets more multiprocessors share a product of few
  /// columns.
  ///
  /// - Returns: `[parts, …, N]`, and the bias if no part has it.
  public func linearInParts(_ x: Tensor, _ weight: Tensor, _ bias: Tensor?) -> PartialSums {
    let (N, K) = weight.shape2
    let shape = x.shape
    let rows = shape.dropLast().reduce(1, *)
    let parts = Self.parts(rows: rows, inputs: K, outputs: N)
    if let form = FewRowsForm(rows: rows, inputs: K, outputs: N) {
      let y = Tensor.empty([parts] + shape.dropLast() + [N], dtype: dtype, device: x.device)
      multiply(form, x, weight, bias, into: y, rows: rows, parts: parts, gelu: false)
      return PartialSums(parts: y, bias: nil)
    }
    if let product = tiledProduct(rows: rows, weight, parts: [1, 2, 4]) {
      return PartialSums(parts: multiply(product, x, weight, bias), bias: nil)
    }
    guard parts > 1 else {
      return PartialSums(parts: x.linear(weight, bias).unsqueeze(0), bias: nil)
    }
    let left = x.reshape(rows, parts, K / parts).permute(1, 0, 2)
    let right = weight.reshape(N, parts, K / parts).permute(1, 2, 0)
    return PartialSums(
      parts: left.matmul(right).reshape([parts] + shape.dropLast() + [N]), bias: bias)
  }

  /// So many that every multiprocessor has something to do.
  static func parts(rows: Int, inputs: Int, outputs: Int) -> Int {
    let isFew = FewRowsForm(rows: rows, inputs: inputs, outputs: outputs) != nil
    // What a block of either kernel has: rows of x, columns.
    let (height, width) = isFew ? (rows, FewRowsForm.width) : (128, 128)
    let blocks = ((rows + height - 1) / height) * ((outputs + width - 1) / width)
    return [8, 4, 2].first {
      inputs % (FewRowsForm.depth * $0) == 0 && inputs / $0 >= (isFew ? 256 : 512)
        && blocks * $0 <= 192
    } ?? 1
  }

  private func multiply(
    _ form: FewRowsForm, _ x: Tensor, _ weight: Tensor, _ bias: Tensor?, into y: Tensor, rows: Int,
    parts: Int, gelu: Bool
  ) {
    let (N, K) = weight.shape2
    fewRows[form]!(
      grid: ((N + FewRowsForm.width - 1) / FewRowsForm.width, parts, 1), threads: 256,
      overlaps: true,
      [
        .tensor(x), .tensor(weight), .optional(bias), .tensor(y), .int(rows), .int(N), .int(K),
        .int(gelu ? 1 : 0),
      ])
  }
}

/// A tensor as a sum over the first axis, and of a bias.
public struct PartialSums {
  /// `[parts, …, N]`
  public let parts: Tensor
  /// `[N]`, still to be added.
  public let bias: Tensor?

  public init(parts: Tensor, bias: Tensor? = nil) { (self.parts, self.bias) = (parts, bias) }
}
