import Testing
import Torch

@Suite struct RandomSourceTests {
  init() throws { try LibTorch.load() }

  private func tensor(
    _ name: String, _ shape: [Int], seed: UInt64 = 1, dtype: DType = .float32
  ) throws -> Tensor {
    try RandomSource(seed: seed).tensor(name, shape: shape, dtype: dtype, device: .cpu)
  }

  @Test func theSameSeedAndNameGiveTheSame() throws {
    let first = try tensor("a.weight", [4, 5])
    #expect(try tensor("a.weight", [4, 5]).isEqual(to: first))
    #expect(try !tensor("a.weight", [4, 5], seed: 2).isEqual(to: first))
    #expect(try !tensor("b.weight", [4, 5]).isEqual(to: first))
  }

  /// Whatever was asked for before.
  @Test func theOrderDoesNotMatter() throws {
    let source = RandomSource(seed: 1)
    _ = try source.tensor("other", shape: [100], dtype: .float32, device: .cpu)
    let later = try source.tensor("a", shape: [3, 3], dtype: .float32, device: .cpu)
    #expect(try later.isEqual(to: tensor("a", [3, 3])))
  }

  @Test func anyNameHasTheShapeThatIsAskedFor() throws {
    let source = RandomSource(seed: 1)
    #expect(source.names == nil && source.shape(of: "x.y", expected: [7, 2]) == [7, 2])
    let parameters = Parameters(source, dtype: .bfloat16, device: .cpu)
    #expect(!parameters.has("x"))
    let x = parameters.tensor("x", 7, 2)
    #expect(x.shape == [7, 2] && x.dtype == .bfloat16)
    try parameters.finish()
  }

  /// 1/√inputs, so that products of normal numbers stay near 1.
  @Test(arguments: [[400, 100], [50, 10, 4, 20]]) func matricesKeepTheSizeOfWhatTheyMultiply(
    _ shape: [Int]
  ) throws {
    let inputs = Double(shape.dropFirst().reduce(1, *))
    let x = try tensor("w", shape).reshape(-1)
    let deviation = try (x * x).mean(0).item().squareRoot()
    // Of 40,000 numbers; five times their deviation's own.
    #expect(abs(deviation * inputs.squareRoot() - 1) < 5 / (2 * 40_000.0).squareRoot())
  }

  @Test func gainsAreNearOneAndBiasesNearZero() throws {
    #expect(try abs(tensor("norm.weight", [1000]).mean(0).item() - 1) < 0.02)
    #expect(try abs(tensor("norm.bias", [1000]).mean(0).item()) < 0.02)
  }
}
