import CTorch

/// Operations on many tensors by one call: on a GPU a few kernels instead of some for each tensor.
extension [Tensor] {
  /// The Euclidean length of each, `[count]`.
  public func norms() -> Tensor {
    make("norms_of_all") { $0.norms_of_all(handles, count, &$1) }
  }

  /// Multiplies all by one number, a tensor with one element.
  public func multiplyInPlace(_ factor: Tensor) {
    perform("multiply_all", [factor]) { $0.multiply_all(handles, count, factor.handle) }
  }

  /// Moves each by a share of the way to its counterpart: `x ← x + weight · (end − x)`.
  public func moveInPlace(towards ends: [Tensor], by weight: Double) {
    precondition(ends.count == count, "a counterpart for each tensor")
    perform("lerp_all") { $0.lerp_all(handles, ends.handles, count, weight) }
  }

  /// Scales all so that the length of them all together is at most `limit`.
  ///
  /// - Returns: The length before, a tensor with one element; not finite where an element is not.
  public func clipInPlace(to limit: Double) -> Tensor {
    let total = (norms().power(2)).sum(0).power(0.5)
    multiplyInPlace((limit / (total + 1e-6)).clamped(-.infinity, 1))
    return total
  }

  var handles: [ct_tensor?] { map(\.handle) }
}

private func / (a: Double, b: Tensor) -> Tensor { b.power(-1) * a }
