import Torch

extension CUDAKernels {
  /// x · weightᵀ + bias, and GELU (tanh form) of it if asked for.
  ///
  /// For few rows a kernel that reads the weight as fast as memory gives it, for some dozens one on Hopper's matrix units, else
  /// libtorch's product.
  ///
  /// - Parameters:
  ///   - x: `[…, K]`, contiguous.
  ///   - weight: `[N, K]`.
  ///   - bias: `[N]`.
  ///   - isOld: whether no kernel since libtorch's last operation writes x, so that such products may overlap as a whole.
  /// - Returns: `[…, N]`.
  public func linear(
    _ x: Tensor, _ weight: Tensor, _ bias: Tensor?, gelu: Bool = false, isOld: Bool = false
  ) -> Tensor {
    if let y = ownProduct(x, weight, bias, parts: [1], gelu: gelu, isOld: isOld) {
      return y.select(0, 0)
    }
    if gelu, let bias { return x.linearGELU(weight, bias) }
    return x.linear(weight, bias)
  }

  /// x · weightᵀ + bias as a sum that the next kernel makes, which lets more multiprocessors share a product of few
  /// columns.
  ///
  /// - Returns: `[parts, …, N]`, and the bias if no part has it.
  public func linearInParts(_ x: Tensor, _ weight: Tensor, _ bias: Tensor?) -> PartialSums {
    if let y = ownProduct(x, weight, bias, parts: [1, 2, 4, 8], gelu: false) {
      return PartialSums(parts: y, bias: nil)
    }
    let (N, K) = weight.shape2
    let shape = x.shape
    let rows = shape.dropLast().reduce(1, *)
    let parts = Self.parts(rows: rows, inputs: K, outputs: N)
    guard parts > 1 else {
      return PartialSums(parts: linear(x, weight, bias).unsqueeze(0), bias: nil)
    }
    let left = x.reshape(rows, parts, K / parts).permute(1, 0, 2)
    let right = weight.reshape(N, parts, K / parts).permute(1, 2, 0)
    return PartialSums(
      parts: left.matmul(right).reshape([parts] + shape.dropLast() + [N]), bias: bias)
  }

  /// The product by a kernel of ours, `[parts, …, N]`; nil where libtorch's is to be used.
  ///
  /// - Parameter parts: how many sums may be left to the next kernel.
  private func ownProduct(
    _ x: Tensor, _ weight: Tensor, _ bias: Tensor?, parts: [Int], gelu: Bool, isOld: Bool = false
  ) -> Tensor? {
    let shape = x.shape
    let rows = shape.dropLast().reduce(1, *)
    func empty(_ parts: Int) -> Tensor {
      .empty([parts] + shape.dropLast() + [weight.length(0)], dtype: dtype, device: x.device)
    }
    if let form = matrixUnitsForm(rows: rows, weight, parts: parts) {
      let y = empty(form.parts)
      multiply(form, x, weight, bias, into: y, rows: rows, gelu: gelu)
      return y
    }
    guard let form = fewRowsForm(rows: rows, weight, parts: parts) else { return nil }
    let y = empty(form.parts)
    multiply(
      form, x, weight, bias, into: y, rows: rows, gelu: gelu,
      order: isOld ? .waitsLast : .yieldsEarly)
    return y
  }

  /// Whether a kernel behind a product of so many rows may start before that one's end. libtorch's products let none, and there
  /// a kernel that might starts 0.4 µs later than others (H200).
  func overlapsProduct(rows: Int) -> Bool { rows <= MatrixUnitsForm.tokenCounts.last! }

  /// So many that every multiprocessor has something to do in libtorch's product, whose blocks have 128 rows and columns.
  static func parts(rows: Int, inputs: Int, outputs: Int) -> Int {
    let blocks = ((rows + 127) / 128) * ((outputs + 127) / 128)
    return [8, 4, 2].first {
      inputs % (128 * $0) == 0 && inputs / $0 >= 512 && blocks * $0 <= 192
    } ?? 1
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
