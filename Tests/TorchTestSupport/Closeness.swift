import Torch

/// The largest absolute difference of two tensors; infinite where the shapes differ or one is not a
/// number.
public func distance(_ a: Tensor, _ b: Tensor) throws -> Double {
  guard a.shape == b.shape else { return .infinity }
  let difference = (a.to(.float64) - b.to(.float64)).absolute().reshape(-1)
  let largest = try difference.max(0).item()
  return largest.isNaN ? .infinity : largest
}
