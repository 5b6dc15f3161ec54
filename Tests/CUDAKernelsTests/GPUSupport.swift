import Testing
import Torch
import TorchTestSupport

/// What tests of kernels share.
enum OnGPU {
  static let isHere: Bool = {
    try? LibTorch.load(cuda: true)
    return LibTorch.hasNVIDIADriver && CUDA.isAvailable
  }()
  static let device = Device.cuda(0)
  static let types: [DType] = [.bfloat16, .float16]

  static func random(_ shape: Int..., seed: UInt64, _ dtype: DType, scale: Double = 1) -> Tensor {
    (Tensor.randn(shape, seed: seed) * scale).to(dtype, device: device)
  }

  static func readable(_ x: Tensor) -> Tensor { x.to(.float32, device: .cpu) }

  /// A share of the largest number, as sums of rounded numbers have it.
  static func expectClose(
    _ found: Tensor, _ expected: Tensor, _ dtype: DType, roundings: Double = 4,
    _ comment: Comment? = nil, location: SourceLocation = #_sourceLocation
  ) throws {
    let step = dtype == .bfloat16 ? 0x1p-8 : 0x1p-11
    let largest = try expected.absolute().reshape(-1).max(0).item()
    #expect(
      try distance(readable(found), expected) <= roundings * step * max(largest, 1e-3), comment,
      sourceLocation: location)
  }
}
