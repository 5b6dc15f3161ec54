import CPUKernels
import StateSpace
import Torch

/// A weight `[O, I, 3, 3]` in the form that the fast convolution of a CPU reads, four times as large.
///
/// It rounds about ten times as coarsely as the plain convolution, some 1e-6 of the numbers' size: far below a step of a
/// pixel, but not for an encoder, whose features decide between neighbouring codes.
final class WinogradWeight {
  private let weight: Tensor
  private let inputs: Int
  private let outputs: Int
  /// Made at first use: loading takes no longer for it, and what only encodes never pays.
  private var made: Tensor?

  /// Nil where the kernel does not fit.
  init?(_ weight: Tensor) {
    let (O, I, height, width) = weight.shape4
    guard weight.device == .cpu, weight.dtype == .float32, Device.cpuRunsKernels,
      (height, width) == (3, 3), I % 8 == 0, O % WinogradConvolution.panel == 0
    else { return nil }
    (self.weight, inputs, outputs) = (weight, I, O)
  }

  /// `[36, O / 16, I, 16]`
  private var transformed: Tensor {
    if let made { return made }
    let panel = WinogradConvolution.panel
    let transformed = weight.to(.float64).reshape(outputs * inputs, 9).matmul(Self.transform)
      .reshape(outputs / panel, panel, inputs, WinogradConvolution.places).permute(3, 0, 2, 1)
      .to(.float32).contiguous()
    // A placeholder is none to keep.
    if !operationsHaveFailed { made = transformed }
    return transformed
  }

  /// From the nine taps to the 36 places: G on rows and columns, `[9, 36]` in float64.
  private static var transform: Tensor {
    let G = Tensor.of(WinogradConvolution.kernelTransform, shape: [6, 3])
    let (rows, columns) = (G.reshape(6, 1, 3, 1), G.reshape(1, 6, 1, 3))
    return (rows * columns).reshape(36, 9).transposed
  }

  /// The convolution of `x [B, I, H, W]`, channels last, with padding 1: `[B, O, H, W]`, channels last.
  ///
  /// - Parameters:
  ///   - added: What is added to the result, `[B, O, H, W]`.
  ///   - room: What nobody needs any more; its memory takes the result if it fits.
  /// - Returns: Nil where `x` is not as the kernel wants it.
  func convolve(_ x: Tensor, bias: Tensor, adding added: Tensor?, into room: Tensor?) -> Tensor? {
    let (B, I, H, W) = x.shape4
    guard I == inputs, x.isChannelsLast, x.dtype == .float32, !x.requiresGradient,
      bias.shape == [outputs]
    else { return nil }
    let shape = [B, outputs, H, W]
    let added = added?.channelsLast()
    requireOfTensors(added.map { $0.shape == shape } ?? true)
    let transformed = transformed
    let y = room.flatMap { fits($0, shape) ? $0 : nil } ?? .emptyChannelsLast(shape)
    let convolution = WinogradConvolution(
      batch: B, size: (H, W), inputs: I, outputs: outputs, source: x.floats,
      weight: transformed.floats, bias: bias.floats, added: added.map { UnsafePointer($0.floats) },
      result: y.floats)
    inParallel(convolution.units) { convolution.run($0) }
    return withExtendedLifetime((transformed, x, bias, added)) { y }
  }

  private func fits(_ room: Tensor, _ shape: [Int]) -> Bool {
    room.shape == shape && room.isChannelsLast && room.dtype == .float32 && !room.requiresGradient
  }
}

extension Tensor {
  /// `[B, C, H, W]` laid out in memory as `[B, H, W, C]`, its elements not set.
  static func emptyChannelsLast(_ shape: [Int], dtype: DType = .float32) -> Tensor {
    Tensor.empty([shape[0], shape[2], shape[3], shape[1]], dtype: dtype).permute(0, 3, 1, 2)
  }

  fileprivate var floats: UnsafeMutablePointer<Float> {
    memory.assumingMemoryBound(to: Float.self)
  }
}
