import Testing
import Torch

@testable import CUDAKernels

/// Which convolutions Hopper's kernels take, which is decided without a GPU.
@Suite struct ConvolutionFormTests {
  init() throws { try LibTorch.load() }

  @Test(arguments: [
    (160, true), (320, true), (640, true), (1280, true), (128, false), (480, false), (800, false),
    (960, false),
  ])
  func takesWholeGroupsOfTheNextNorm(outputs: Int, isTaken: Bool) {
    let weights = ConvolutionWeights(.zeros([outputs, 32, 3, 3]), bias: .zeros([outputs]))
    #expect((weights != nil) == isTaken)
  }
}
