import Torch

/// The largest absolute difference of two tensors; infinite where the shapes differ or one is not a
/// number.
public func distance(_ a: Tensor, _ b: Tensor) throws -> Double {
  guard a.shape == b.shape else { return .infinity }
  let difference = (a.to(.float64) - b.to(.float64)).absolute().reshape(-1)
  let largest = try difference.max(0).item()
  return largest.isNaN ? .infinity : largest
}

/// How far two ways of computing `expected` may differ when each rounds about `roundings` times in
/// `dtype`: that many units in the last place of the largest number.
public func tolerance(_ dtype: DType, roundings: Double, of expected: Tensor) throws -> Double {
  let unit =
    switch dtype {
    case .float64: 0x1p-52
    case .float32: 0x1p-23
    case .float16: 0x1p-10
    case .bfloat16: 0x1p-7
    default: preconditionFailure("\(dtype) does not round")
    }
  let largest = try expected.to(.float64).absolute().reshape(-1).max(0).item()
  return unit * roundings * max(largest, 0x1p-126)
}
