import StateSpace
import Testing
import Torch
import TorchTestSupport

@Suite struct SelectiveScanTests {
  init() throws { try LibTorch.load() }

  private func randomInput(batch: Int = 2, length: Int, heads: Int = 3, seed: UInt64 = 1)
    -> ScanInput
  {
    ScanInput(
      x: .randn([batch, length, heads, 16], seed: seed),
      dt: Tensor.randn([batch, length, heads], seed: seed + 1).softplus(),
      a: -Tensor.randn([heads], seed: seed + 2).exp(),
      b: .randn([batch, length, 8], seed: seed + 3), c: .randn([batch, length, 8], seed: seed + 4))
  }

  @Test(arguments: [1, 2, 7, 16, 33], [1, 5, 16, 64])
  func matrixProductsEqualTheRecurrence(length: Int, chunk: Int) throws {
    let input = randomInput(length: length)
    let state = Tensor.randn([2, 3, 16, 8], seed: 9)
    for start in [nil, state] {
      let expected = selectiveScanReference(input, state: start)
      let actual = selectiveScan(input, state: start, chunk: chunk)
      #expect(try distance(expected.y, actual.y) < 1e-4)
      #expect(try distance(expected.state, actual.state!) < 1e-4)
    }
  }

  @Test func fastDecayDoesNotOverflow() throws {
    var input = randomInput(length: 64)
    input.dt = input.dt * 200
    let expected = selectiveScanReference(input)
    let actual = selectiveScan(input)
    #expect(try distance(expected.y / 200, actual.y / 200) < 1e-3)
  }

  @Test func theStateIsNotComputedWhereItIsNotNeeded() {
    #expect(selectiveScan(randomInput(length: 5), needsState: false).state == nil)
  }
}

@Suite struct Mamba2Tests {
  init() throws { try LibTorch.load() }

  @Test(arguments: [[20], [1, 19], [3, 1, 16], [10, 2, 8]])
  func carriedStateEqualsTheWholeSequence(parts: [Int]) throws {
    let parameters = Parameters(RandomSource(seed: 3), dtype: .float32, device: .cpu)
    let mamba = Mamba2(parameters, width: 128)
    let x = Tensor.randn([2, 20, 128], seed: 4)
    var whole: Mamba2State?
    let expected = mamba(x, state: &whole)
    var state: Mamba2State?
    let outputs = x.split(parts, axis: 1).map { mamba($0, state: &state) }
    #expect(try distance(expected, .concatenate(outputs, axis: 1)) < 1e-5)
    #expect(try distance(whole!.ssm, state!.ssm) < 1e-5)
    #expect(try distance(whole!.conv, state!.conv) < 1e-5)
  }
}
