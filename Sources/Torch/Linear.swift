/// `x Wᵀ + b`.
///
/// For inference on a CPU the weight is kept in the layout that oneDNN's kernels read, and only in
/// that one.
public struct Linear {
  package let weight: Tensor
  package let bias: Tensor?
  private let isPacked: Bool
  /// Whether a GPU may apply GELU inside the product, of which libtorch knows no gradient.
  private let fusesActivation: Bool

  /// Takes `weight [outputs, inputs]` and, if `bias`, `bias [outputs]`.
  public init(_ p: Parameters, _ inputs: Int, _ outputs: Int, bias: Bool = true) {
    self.init(
      weight: p.tensor("weight", outputs, inputs), bias: bias ? p.tensor("bias", outputs) : nil,
      purpose: p.purpose)
  }

  public init(weight: Tensor, bias: Tensor?, purpose: Parameters.Purpose) {
    isPacked =
      purpose == .inference && weight.device == .cpu && weight.dtype == .float32
      || purpose == .inference && weight.device == .cpu && weight.dtype == .bfloat16
        && Device.cpuHasFastBFloat16
    fusesActivation = purpose == .inference && weight.device != .cpu
    self.weight = isPacked ? weight.packedForLinear() : weight
    self.bias = bias
  }

  /// `[…, inputs]` → `[…, outputs]`.
  public func callAsFunction(_ x: Tensor, activation: Activation = .none) -> Tensor {
    if isPacked {
      return x.packedLinear(weight, bias, activation: activation == .geluTanh ? .geluTanh : .none)
    }
    if activation == .geluTanh, let bias, fusesActivation {
      return x.linearGELU(weight, bias)
    }
    let y = x.linear(weight, bias)
    return activation == .geluTanh ? y.geluTanh() : y
  }

  /// What is applied to the product.
  public enum Activation: Sendable {
    case none
    case geluTanh
  }
}
