import Torch

/// A convolution, batch normalisation by known statistics, and an activation: what both networks are
/// made of.
///
/// Folded, the normalisation is part of the convolution's weights: w ← w·g/√(v + ε) and
/// b ← β − m·g/√(v + ε). ``isFolded`` being false keeps the readable path.
struct ConvolutionUnit {
  enum Activation {
    case none
    case relu
    /// min(max(x, 0), 6)
    case relu6
  }

  private enum Weights {
    /// weight `[out, in / groups, kh, kw]`; gain, bias, mean and variance `[out]`.
    case plain(Tensor, gain: Tensor, bias: Tensor, mean: Tensor, variance: Tensor)
    case folded(Tensor, bias: Tensor)
  }

  /// How much is put around a picture.
  enum Padding: Sendable {
    case none
    /// TensorFlow's "same": the result has ⌈n / stride⌉ pixels, and what is odd about the padding goes
    /// to the right and the bottom.
    case same
  }

  private var weights: Weights
  private let kernel: (height: Int, width: Int)
  private let stride: Int
  private let padding: Padding
  private let groups: Int
  private let epsilon: Double
  private let activation: Activation

  /// - Parameters:
  ///   - convolution: Where `weight` is.
  ///   - norm: Where `weight`, `bias`, `running_mean` and `running_var` are.
  init(
    convolution: Parameters, norm: Parameters, _ inputs: Int, _ outputs: Int,
    kernel: (height: Int, width: Int), stride: Int = 1, padding: Padding = .same, groups: Int = 1,
    epsilon: Double = 1e-3, activation: Activation, folded: Bool
  ) {
    let weight = convolution.tensor(
      "weight", outputs, inputs / groups, kernel.height, kernel.width)
    let gain = norm.tensor("weight", outputs)
    let bias = norm.tensor("bias", outputs)
    let mean = norm.tensor("running_mean", outputs)
    let variance = norm.tensor("running_var", outputs)
    norm.skip("num_batches_tracked")
    weights =
      folded
      ? Self.fold(weight, gain, bias, mean, variance, epsilon)
      : .plain(weight, gain: gain, bias: bias, mean: mean, variance: variance)
    (self.kernel, self.stride, self.padding, self.groups) = (kernel, stride, padding, groups)
    (self.epsilon, self.activation) = (epsilon, activation)
  }

  /// In float64, so that folding rounds once.
  private static func fold(
    _ weight: Tensor, _ gain: Tensor, _ bias: Tensor, _ mean: Tensor, _ variance: Tensor,
    _ epsilon: Double
  ) -> Weights {
    let scale =
      gain.to(.float64) * (variance.to(.float64) + epsilon).reciprocalSquareRoot()
    let folded = weight.to(.float64) * scale.reshape(-1, 1, 1, 1)
    let shift = bias.to(.float64) - mean.to(.float64) * scale
    return .folded(folded.to(weight.dtype).channelsLast(), bias: shift.to(weight.dtype))
  }

  /// The same in another precision.
  func converted(to dtype: DType) -> ConvolutionUnit {
    var unit = self
    switch weights {
    case .folded(let weight, let bias):
      unit.weights = .folded(weight.to(dtype), bias: bias.to(dtype))
    case .plain(let weight, let gain, let bias, let mean, let variance):
      unit.weights = .plain(
        weight.to(dtype), gain: gain.to(dtype), bias: bias.to(dtype), mean: mean.to(dtype),
        variance: variance.to(dtype))
    }
    return unit
  }

  /// `[B, in, H, W]` → `[B, out, H′, W′]`
  func callAsFunction(_ x: Tensor) -> Tensor {
    let (x, padding) = padded(x)
    switch weights {
    case .folded(let weight, let bias):
      let y = x.conv2d(
        weight, bias, stride: (stride, stride), padding: padding, groups: groups,
        relu: activation == .relu)
      return activation == .relu6 ? y.clamped(0, 6) : y
    case .plain(let weight, let gain, let bias, let mean, let variance):
      let y = x.conv2d(weight, stride: (stride, stride), padding: padding, groups: groups)
        .batchNorm(weight: gain, bias: bias, mean: mean, variance: variance, epsilon: epsilon)
      return switch activation {
      case .none: y
      case .relu: y.relu()
      case .relu6: y.clamped(0, 6)
      }
    }
  }

  /// The picture with what the convolution cannot put around it itself, and what it can.
  private func padded(_ x: Tensor) -> (x: Tensor, padding: (height: Int, width: Int)) {
    guard padding == .same else { return (x, (0, 0)) }
    let (top, bottom) = amounts(x.length(2), kernel.height)
    let (left, right) = amounts(x.length(3), kernel.width)
    if top == bottom, left == right { return (x, (top, left)) }
    return (x.padded(left, right, top, bottom), (0, 0))
  }

  private func amounts(_ length: Int, _ kernel: Int) -> (before: Int, after: Int) {
    let result = (length + stride - 1) / stride
    let total = max((result - 1) * stride + kernel - length, 0)
    return (total / 2, total - total / 2)
  }
}
