import Testing
import Torch
import TorchTestSupport

@testable import StateSpace

/// The kernels for CPUs against the readable path.
@Suite struct CPUMixerTests {
  private static let heads = 3
  private static let channels = heads * Mamba2.headSize + 2 * Mamba2.stateSize

  init() throws { try LibTorch.load() }

  private func mixer() -> Mamba2Mixer {
    let (H, channels) = (Self.heads, Self.channels)
    return Mamba2Mixer(
      convWeight: .randn([channels, 1, 4], seed: 1) * 0.5, convBias: .randn([channels], seed: 2),
      dtBias: .randn([H], seed: 3), a: -Tensor.randn([H], seed: 4).exp(),
      d: .randn([H], seed: 5))
  }

  /// Parts of wider rows, as a projection gives them.
  private func input(batch: Int, length: Int, _ dtype: DType) -> (xBC: Tensor, dt: Tensor) {
    let parts = Tensor.randn([batch, length, 8 + Self.channels + Self.heads], seed: 6).to(dtype)
      .split([8, Self.channels, Self.heads], axis: 2)
    return (parts[1], parts[2])
  }

  private func state(batch: Int, _ dtype: DType) -> Mamba2State {
    Mamba2State(
      conv: Tensor.randn([batch, 3, Self.channels], seed: 7).to(dtype),
      ssm: .randn([batch, Self.heads, Mamba2.headSize, Mamba2.stateSize], seed: 8))
  }

  @Test(arguments: [DType.float32, .bfloat16], [1, 2, 3, 4, 5, 7, 64, 70])
  func equalsTheReadablePath(_ dtype: DType, length: Int) throws {
    let (xBC, dt) = input(batch: 2, length: length, dtype)
    let fast = try #require(CPUMixer(mixer()))
    for before in [nil, state(batch: 2, dtype)] {
      let (expected, expectedState) = mixer()(xBC: xBC, dt: dt, state: before, keepsState: true)
      let (y, after) = fast(xBC: xBC, dt: dt, state: before, keepsState: true)
      #expect(y.dtype == dtype)
      // Sums of 64 products of numbers up to some tens, over many tokens.
      let roundings = dtype == .float32 ? 64.0 : 1
      let limit = try tolerance(dtype, roundings: roundings, of: expected)
      #expect(try distance(y, expected) <= limit)
      #expect(try after!.conv.isEqual(to: expectedState!.conv))
      let ssm = expectedState!.ssm
      let stateLimit = try tolerance(.float32, roundings: 64, of: ssm)
      #expect(try distance(after!.ssm, ssm) < stateLimit)
    }
  }

  @Test func leavesTheStateThatItWasGiven() throws {
    let (xBC, dt) = input(batch: 1, length: 5, .float32)
    let fast = try #require(CPUMixer(mixer()))
    let first = fast(xBC: xBC, dt: dt, state: nil, keepsState: true).1!
    let copy = first.ssm.clone()
    _ = fast(xBC: xBC, dt: dt, state: first, keepsState: true)
    #expect(try first.ssm.isEqual(to: copy))
  }

  @Test func fastDecayDoesNotOverflow() throws {
    let (xBC, dt) = input(batch: 1, length: 9, .float32)
    let fast = try #require(CPUMixer(mixer()))
    let expected = mixer()(xBC: xBC, dt: dt * 500, state: nil, keepsState: false).0
    let y = fast(xBC: xBC, dt: dt * 500, state: nil, keepsState: false).0
    let limit = try tolerance(.float32, roundings: 64, of: expected)
    #expect(try distance(y, expected) < limit)
  }

  @Test func sequencesDoNotDependOnTheirBatch() throws {
    let (xBC, dt) = input(batch: 3, length: 6, .float32)
    let before = state(batch: 3, .float32)
    let fast = try #require(CPUMixer(mixer()))
    let together = fast(xBC: xBC, dt: dt, state: before, keepsState: true)
    for b in 0..<3 {
      let range = b..<b + 1
      let own = Mamba2State(conv: before.conv[range], ssm: before.ssm[range])
      let alone = fast(xBC: xBC[range], dt: dt[range], state: own, keepsState: true)
      #expect(try alone.0.isEqual(to: together.0[range]))
      #expect(try alone.1!.ssm.isEqual(to: together.1!.ssm[range]))
    }
  }

  @Test func gradientsTakeTheReadablePath() {
    let x = Tensor.randn([1, 4, 64], seed: 4)
    #expect(x.suitsCPUKernels)
    x.setRequiresGradient()
    #expect(!x.suitsCPUKernels)
    #expect(!x.transposed.detached().suitsCPUKernels)
  }

  @Test(arguments: [DType.float32, .bfloat16], [8, 40, 256])
  func gatedNormEqualsItsFormula(_ dtype: DType, width: Int) throws {
    let parts = Tensor.randn([2, 5, 2 * width], seed: 1).to(dtype).chunked(2, axis: 2)
    let weight = Tensor.randn([width], seed: 2).to(dtype)
    let (y, z) = (parts[0].contiguous(), parts[1])
    let expected = (y * z.silu()).rmsNorm(weight, epsilon: 1e-5)
    let actual = y.clone().gated(by: z, normWeight: weight)
    let roundings = dtype == .float32 ? 8.0 : 3
    let limit = try tolerance(dtype, roundings: roundings, of: expected)
    #expect(try distance(actual, expected) < limit)
  }
}
