import Testing
import Torch

@Suite struct TensorTests {
  init() throws { try LibTorch.load() }

  @Test func elementsSurviveTheRoundTrip() throws {
    let x = Tensor.of([1, 2, 3, 4, 5, 6] as [Float], shape: [2, 3])
    #expect(x.shape == [2, 3] && x.dtype == .float32 && x.device == .cpu)
    #expect(try x.transposed.contiguous().elements(as: Float.self) == [1, 4, 2, 5, 3, 6])
    #expect(try x.to(.bfloat16).elements(as: Float.self) == [1, 2, 3, 4, 5, 6])
  }

  @Test func slicesAreViews() throws {
    let x = Tensor.arange(12).reshape(3, 4)
    #expect(try x[1].elements(as: Int.self) == [4, 5, 6, 7])
    #expect(try x.slice(1, 1..<3).sum(0, 1).item() == 33)
    x[2].fillInPlace(0)
    #expect(try x.sum(0, 1).item() == 28)
    #expect(x.split([1, 3], axis: 1).map(\.shape) == [[3, 1], [3, 3]])
  }

  @Test func aScopeThrowsTheFirstErrorAndNamesShapes() throws {
    let error = #expect(throws: TorchError.self) {
      try withTorchErrors {
        let bad = Tensor.ones([2, 3]).matmul(Tensor.ones([2, 3]))
        let (B, L, C) = bad.shape3
        _ = bad.reshape(B, L, C, 7) + Tensor.ones([5])
      }
    }
    #expect(error?.operation == "matmul(float32[2, 3], float32[2, 3])")
    #expect(error?.kind == .operation)
  }

  @Test func wholeNumbersAddUp() throws {
    let (column, row) = (Tensor.of([0, 10], shape: [2, 1]), Tensor.of([3, 5, 7]))
    let (sums, differences) = try withTorchErrors { (column + row, column - row) }
    #expect(try sums.elements(as: Int.self) == [3, 5, 7, 13, 15, 17])
    #expect(try differences.elements(as: Int.self) == [-3, -5, -7, 7, 5, 3])
  }

  @Test func tooLargeATensorIsOutOfMemory() throws {
    let error = #expect(throws: TorchError.self) {
      try withTorchErrors { Tensor.zeros([1 << 46]) }
    }
    #expect(error?.kind == .outOfMemory)
  }

  @Test func scopesNestAndTheOuterOneGoesOn() throws {
    let sum = try withTorchErrors {
      _ = try? withTorchErrors { Tensor.ones([2]).reshape(3) }
      return Tensor.ones([2]) + 1
    }
    #expect(try sum.elements(as: Float.self) == [2, 2])
  }

  @Test func outsideAScopeAnErrorStopsTheProgram() async {
    await #expect(processExitsWith: .failure) {
      try LibTorch.load()
      _ = Tensor.ones([2]) + Tensor.ones([3])
    }
  }

  @Test func packedLinearEqualsLinear() throws {
    let x = Tensor.randn([2, 5, 64], seed: 1)
    let weight = Tensor.randn([96, 64], seed: 2)
    let bias = Tensor.randn([96], seed: 3)
    let expected = x.linear(weight, bias).geluTanh()
    let actual = x.packedLinear(weight.packedForLinear(), bias, activation: .geluTanh)
    #expect(try (expected - actual).absolute().max(0, 1, 2).item() < 1e-4)
  }
}
