import CTorch

/// AdamW (arXiv 1711.05101): Adam with weight decay apart from the gradient.
///
///     m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²
///     x ← x (1 − rate · decay) − rate · m / (1 − β₁ᵗ) / (√(v / (1 − β₂ᵗ)) + ε)
///
/// One kernel of libtorch does that for all parameters of a group. Parameters that have no gradient
/// stay as they are.
public final class AdamW {
  /// Parameters that share a weight decay.
  public struct Group {
    public let parameters: [Tensor]
    /// What the weight decay of a step is multiplied by: 0 for biases and gains.
    public let decayScale: Double

    public init(_ parameters: [Tensor], decayScale: Double = 1) {
      self.parameters = parameters
      self.decayScale = decayScale
    }
  }

  public let groups: [Group]
  public let betas: (Double, Double)
  public let epsilon: Double
  /// m of each parameter, in the order of the groups.
  public let means: [[Tensor]]
  /// v of each parameter.
  public let squares: [[Tensor]]
  /// t, one element in float32 on the parameters' device.
  public let stepCount: Tensor

  public init(_ groups: [Group], betas: (Double, Double) = (0.9, 0.999), epsilon: Double = 1e-8) {
    func zeros(_ x: Tensor) -> Tensor { .zeros(x.shape, dtype: x.dtype, device: x.device) }
    self.groups = groups
    self.betas = betas
    self.epsilon = epsilon
    means = groups.map { $0.parameters.map(zeros) }
    squares = groups.map { $0.parameters.map(zeros) }
    let device = groups.lazy.flatMap(\.parameters).first?.device ?? .cpu
    stepCount = .zeros([], device: device)
  }

  /// All parameters in the order of the groups.
  public var parameters: [Tensor] { groups.flatMap(\.parameters) }

  /// The gradients that there are, in the order of ``parameters``.
  public var gradients: [Tensor] { parameters.compactMap(\.gradient) }

  /// Forgets the gradients, and with them their memory.
  public func clearGradients() {
    for parameter in parameters { parameter.gradient = nil }
  }

  /// One step from the parameters' gradients.
  ///
  /// - Parameter skip: One element in float32; where it is 1 nothing changes but ``stepCount``.
  public func step(rate: Double, weightDecay: Double, skip: Tensor? = nil) {
    withoutGradient {
      stepCount.addInPlace(1)
      for (index, group) in groups.enumerated() {
        step(group, means[index], squares[index], rate, weightDecay * group.decayScale, skip)
      }
    }
  }

  private func step(
    _ group: Group, _ means: [Tensor], _ squares: [Tensor], _ rate: Double, _ decay: Double,
    _ skip: Tensor?
  ) {
    let gradients = group.parameters.map(\.gradient)
    let chosen = gradients.indices.filter { gradients[$0] != nil }
    guard !chosen.isEmpty else { return }
    var settings = ct_adamw(
      rate: rate, beta1: betas.0, beta2: betas.1, epsilon: epsilon, weight_decay: decay)
    perform("adamw") {
      $0.adamw(
        chosen.map { group.parameters[$0].handle }, chosen.map { gradients[$0]!.handle },
        chosen.map { means[$0].handle }, chosen.map { squares[$0].handle }, chosen.count,
        stepCount.handle, &settings, skip?.handle)
    }
  }
}
