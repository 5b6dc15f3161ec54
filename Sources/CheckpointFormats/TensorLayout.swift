/// Sizes and steps of a tensor, and what follows from them; nothing here overflows on hostile numbers.
struct TensorLayout {
  let shape: [Int]
  let strides: [Int]

  /// More dimensions than any model's tensor has.
  static let rankLimit = 16

  /// The number of elements for a shape, or nil if a size is negative, the product overflows, or there are too many
  /// dimensions.
  static func elementCount(of shape: [Int]) -> Int? {
    if shape.count > rankLimit { return nil }
    if shape.contains(where: { $0 < 0 }) { return nil }
    if shape.contains(0) { return 0 }
    var count = 1
    for size in shape {
      let (product, overflow) = count.multipliedReportingOverflow(by: size)
      if overflow { return nil }
      count = product
    }
    return count
  }

  /// The number of bytes for a shape, or nil if there is no ``elementCount(of:)`` or the product overflows.
  static func byteCount(of shape: [Int], as type: ElementType) -> Int? {
    guard let elements = elementCount(of: shape) else { return nil }
    let (bytes, overflow) = elements.multipliedReportingOverflow(by: type.byteCount)
    return overflow ? nil : bytes
  }

  /// The steps of a tensor without gaps, the last dimension fastest. The shape must be a valid one.
  static func contiguousStrides(of shape: [Int]) -> [Int] {
    var strides = [Int](repeating: 1, count: shape.count)
    guard elementCount(of: shape) != 0 else { return strides }
    for axis in shape.indices.dropLast().reversed() {
      strides[axis] = strides[axis + 1] * shape[axis + 1]
    }
    return strides
  }

  var isContiguous: Bool {
    if Self.elementCount(of: shape) == 0 { return true }
    var step = 1
    for (size, stride) in zip(shape, strides).reversed() where size != 1 {
      if stride != step { return false }
      step *= size
    }
    return true
  }

  /// One past the last element reached from `offset`, or nil if a number is negative or overflows.
  func end(from offset: Int) -> Int? {
    guard shape.count == strides.count, offset >= 0 else { return nil }
    guard let count = Self.elementCount(of: shape), !strides.contains(where: { $0 < 0 }) else {
      return nil
    }
    if count == 0 { return offset }
    var last = offset
    for (size, stride) in zip(shape, strides) {
      let (reach, far) = (size - 1).multipliedReportingOverflow(by: stride)
      let (sum, farther) = last.addingReportingOverflow(reach)
      if far || farther { return nil }
      last = sum
    }
    return last == Int.max ? nil : last + 1
  }
}
