import MVAR
import Testing
import Torch
import TorchTestSupport

@testable import MVARTraining

/// Training in 16 bits on a GPU, with its fused kernels, against float32 on the CPU.
@Suite(.serialized, .enabled(if: hasGPU, "needs a GPU")) struct GPULearnerTests {
  private func losses(
    _ precision: DType, _ device: Device, steps: Int, recomputes: Bool = false
  ) throws -> (losses: [Double], weights: [Tensor]) {
    let settings = Learners.settings {
      ($0.labelDropout, $0.stochasticDepth) = (0.2, 0.3)
    }
    let learner = try Learners.learner(
      settings, recomputes: recomputes, precision: precision, device: device)
    let losses = try (0..<steps).map { _ in
      let measures = try #require(try learner.step(Learners.batch(4), measures: true))
      return try ScaleMeasures(measures.perScale, learner.configuration.schedule).loss
    }
    try learner.checkHealth()
    return (losses, learner.weights.tensors.map { $0.detached() })
  }

  @Test(arguments: [false, true]) func learnsWhatTheCPULearns(recomputes: Bool) throws {
    let steps = 20
    let exact = try losses(.float32, .cpu, steps: steps).losses
    let found = try losses(.bfloat16, gpu, steps: steps, recomputes: recomputes).losses
    // A loss is a mean over logits of 16 bits, and starts at ln 512; it falls by one or more, and both fall alike.
    #expect(abs(found[0] - exact[0]) < 0.02)
    #expect(exact[steps - 1] < exact[0] - 1)
    #expect(abs(found[steps - 1] - exact[steps - 1]) < 0.1 * (exact[0] - exact[steps - 1]))
  }

  @Test func givesTheSameBitsAgain() throws {
    let first = try losses(.bfloat16, gpu, steps: 5).weights
    let again = try losses(.bfloat16, gpu, steps: 5).weights
    for (a, b) in zip(first, again) { #expect(try a.isEqual(to: b)) }
  }
}
