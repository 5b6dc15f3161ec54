import CTorch

/// Runs `body` without recording anything for gradients.
///
/// The mode belongs to the thread, so `body` is synchronous. What is computed inside may be used in
/// recorded operations later, unlike tensors made in ``withInferenceMode(_:)``.
public func withoutGradient<R>(_ body: () throws -> R) rethrows -> R {
  try withGradientMode(false, body)
}

/// Runs `body` with operations recorded, inside ``withoutGradient(_:)`` too.
public func withGradient<R>(_ body: () throws -> R) rethrows -> R {
  try withGradientMode(true, body)
}

private func withGradientMode<R>(_ enabled: Bool, _ body: () throws -> R) rethrows -> R {
  var previous = true
  perform("set_gradient_mode") { $0.set_gradient_mode(enabled, &previous) }
  defer {
    var ignored = true
    perform("set_gradient_mode") { $0.set_gradient_mode(previous, &ignored) }
  }
  return try body()
}

extension Tensor {
  /// Whether operations on it are recorded, so that a gradient can be asked for.
  public var requiresGradient: Bool {
    var out = false
    perform("requires_gradient", [self]) { $0.requires_gradient(handle, &out) }
    return out
  }

  /// Makes a tensor that no recorded operation made a leaf, whose gradient ``backward(_:keepingGraph:)``
  /// adds up, or ends that.
  public func setRequiresGradient(_ value: Bool = true) {
    perform("set_requires_gradient", [self]) { $0.set_requires_gradient(handle, value) }
  }

  /// The gradients added up in a leaf so far; nil before the first.
  public var gradient: Tensor? {
    get {
      var out: ct_tensor?
      perform("gradient", [self]) { $0.gradient(handle, &out) }
      return out.map(Tensor.init(owning:))
    }
    set {
      perform("set_gradient", [self]) { $0.set_gradient(handle, newValue?.handle) }
    }
  }

  /// Adds the gradient of this tensor to every leaf that it was computed from.
  ///
  /// - Parameters:
  ///   - gradient: That of this tensor, of its shape; nil where it has one element.
  ///   - keepingGraph: Whether another backward pass will run through the same operations.
  public func backward(_ gradient: Tensor? = nil, keepingGraph: Bool = false) {
    perform("backward", [self]) { $0.backward(handle, gradient?.handle, keepingGraph) }
  }

  /// The gradient of this tensor with respect to each input; nil for one that it does not depend on.
  ///
  /// No leaf's ``gradient`` changes.
  ///
  /// - Parameter keepingGraph: Whether another backward pass will run through the same operations.
  public func gradients(
    of inputs: [Tensor], from gradient: Tensor? = nil, keepingGraph: Bool = false
  ) -> [Tensor?] {
    var outs = [ct_tensor?](repeating: nil, count: inputs.count)
    perform("gradients_of", [self]) {
      $0.gradients_of(
        handle, gradient?.handle, inputs.map(\.handle), inputs.count, keepingGraph, &outs)
    }
    return outs.map { $0.map(Tensor.init(owning:)) }
  }

  /// The same elements, of which no operation before is known.
  public func detached() -> Tensor { make("detach", [self]) { $0.detach(handle, &$1) } }

  /// The cross entropy of each row of logits `self [n, V]`, in the logits' type: `[n]`.
  ///
  /// - Parameters:
  ///   - targets: `[n]` int64.
  ///   - smoothing: The share of each target's weight that all classes get alike.
  public func crossEntropy(_ targets: Tensor, smoothing: Double = 0) -> Tensor {
    make("cross_entropy", [self, targets]) {
      $0.cross_entropy(handle, targets.handle, smoothing, &$1)
    }
  }

  /// Ones with a probability, zeros elsewhere, in float32 on the CPU; the same for the same seed.
  ///
  /// Dropout that keeps the expectation is `x * Tensor.bernoulli(x.shape, p, seed: s) / p`.
  public static func bernoulli(_ shape: [Int], _ probability: Double, seed: UInt64) -> Tensor {
    make("bernoulli") { $0.bernoulli(shape.c, shape.count, probability, seed, &$1) }
  }

  /// Which elements are neither infinite nor no number: bool.
  public func isFinite() -> Tensor { make("is_finite", [self]) { $0.is_finite(handle, &$1) } }
}
