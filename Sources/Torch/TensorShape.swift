import CTorch

extension Tensor {
  /// The same elements under another shape; one length may be −1.
  public func reshape(_ shape: [Int]) -> Tensor {
    make("reshape", [self]) { $0.reshape(handle, shape.c, shape.count, &$1) }
  }

  public func reshape(_ shape: Int...) -> Tensor { reshape(shape) }

  public func permute(_ axes: Int...) -> Tensor {
    make("permute", [self]) { $0.permute(handle, axes.c, axes.count, &$1) }
  }

  public func transpose(_ a: Int, _ b: Int) -> Tensor {
    make("transpose", [self]) { $0.transpose(handle, Int64(a), Int64(b), &$1) }
  }

  /// The last two axes exchanged.
  public var transposed: Tensor { transpose(-2, -1) }

  /// Repeats axes of length 1 without copying.
  public func expand(_ shape: [Int]) -> Tensor {
    make("expand", [self]) { $0.expand(handle, shape.c, shape.count, &$1) }
  }

  public func expand(_ shape: Int...) -> Tensor { expand(shape) }

  public func unsqueeze(_ axis: Int) -> Tensor {
    make("unsqueeze", [self]) { $0.unsqueeze(handle, Int64(axis), &$1) }
  }

  public func squeeze(_ axis: Int) -> Tensor {
    make("squeeze", [self]) { $0.squeeze(handle, Int64(axis), &$1) }
  }

  /// One index of an axis, which goes away.
  public func select(_ axis: Int, _ index: Int) -> Tensor {
    make("select", [self]) { $0.select(handle, Int64(axis), Int64(index), &$1) }
  }

  /// A range of an axis, as a view.
  public func slice(_ axis: Int, _ range: some RangeExpression<Int>) -> Tensor {
    let range = range.relative(to: 0..<length(axis))
    return make("narrow", [self]) {
      $0.narrow(handle, Int64(axis), Int64(range.lowerBound), Int64(range.count), &$1)
    }
  }

  /// `x[1]` is the second entry of the first axis.
  public subscript(index: Int) -> Tensor { select(0, index) }

  /// `x[1..<3]` is a range of the first axis.
  public subscript(range: some RangeExpression<Int>) -> Tensor { slice(0, range) }

  /// Equal parts of an axis, as views.
  public func chunked(_ count: Int, axis: Int) -> [Tensor] {
    let part = length(axis) / count
    return (0..<count).map { slice(axis, $0 * part..<($0 + 1) * part) }
  }

  /// Parts of an axis with the given lengths, as views.
  public func split(_ lengths: [Int], axis: Int) -> [Tensor] {
    var start = 0
    return lengths.map { length in
      defer { start += length }
      return slice(axis, start..<start + length)
    }
  }

  /// A copy with axis `i` repeated `counts[i]` times.
  public func repeated(_ counts: Int...) -> Tensor {
    make("repeat", [self]) { $0.repeat(handle, counts.c, counts.count, &$1) }
  }

  public static func concatenate(_ tensors: [Tensor], axis: Int) -> Tensor {
    make("cat", tensors) { $0.cat(tensors.map(\.handle), tensors.count, Int64(axis), &$1) }
  }

  public static func stack(_ tensors: [Tensor], axis: Int) -> Tensor {
    make("stack", tensors) { $0.stack(tensors.map(\.handle), tensors.count, Int64(axis), &$1) }
  }

  /// Puts `value` around the last axes: before and after the last, before and after the one
  /// before it, and so on.
  public func padded(_ amounts: Int..., with value: Double = 0) -> Tensor {
    make("pad", [self]) { $0.pad(handle, amounts.c, amounts.count, value, &$1) }
  }

  /// The upper triangle of the last two axes; zero elsewhere.
  public func upperTriangle(diagonal: Int = 0) -> Tensor {
    make("triu", [self]) { $0.triu(handle, Int64(diagonal), &$1) }
  }

  /// The lower triangle of the last two axes; zero elsewhere.
  public func lowerTriangle(diagonal: Int = 0) -> Tensor {
    make("tril", [self]) { $0.tril(handle, Int64(diagonal), &$1) }
  }
}
