import Torch

/// A convolution over `[B, C, H, W]`, channels last in memory.
struct Convolution {
  let weight: Tensor
  let bias: Tensor
  let stride: Int
  let padding: Int
  private let winograd: WinogradWeight?

  /// - Parameter winograd: Whether a CPU may trade memory and some rounding for speed, in float32 and for inference.
  init(
    _ p: Parameters, _ inputs: Int, _ outputs: Int, kernel: Int = 3, stride: Int = 1,
    padding: Int? = nil, winograd: Bool = false
  ) {
    weight = p.tensor("weight", outputs, inputs, kernel, kernel).channelsLast()
    bias = p.tensor("bias", outputs)
    self.stride = stride
    self.padding = padding ?? kernel / 2
    let fits = winograd && p.purpose == .inference && stride == 1 && self.padding == 1
    self.winograd = fits ? WinogradWeight(weight) : nil
  }

  /// - Parameters:
  ///   - added: What is added to the result.
  ///   - room: What nobody needs any more; its memory may take the result. Fresh memory costs the system's clearing it.
  func callAsFunction(_ x: Tensor, adding added: Tensor? = nil, into room: Tensor? = nil) -> Tensor
  {
    winograd?.convolve(x, bias: bias, adding: added, into: room) ?? reference(x, adding: added)
  }

  /// The same by the plain convolution.
  func reference(_ x: Tensor, adding added: Tensor? = nil) -> Tensor {
    let y = x.conv2d(weight, bias, stride: stride, padding: padding)
    return added.map { $0 + y } ?? y
  }
}
