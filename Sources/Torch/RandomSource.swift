/// Random parameters for tests and benchmarks: any name, any shape, the same for the same seed.
///
/// Matrices are scaled by 1/√(inputs) so that activations stay near 1 in deep models.
public final class RandomSource: ParameterSource {
  private let seed: UInt64

  public init(seed: UInt64) { self.seed = seed }

  public var names: [String]? { nil }

  public func shape(of name: String, expected: [Int]) -> [Int]? { expected }

  public func tensor(_ name: String, shape: [Int], dtype: DType, device: Device) throws -> Tensor {
    try withTorchErrors {
      let inputs = shape.dropFirst().reduce(1, *)
      let scale = shape.count > 1 ? 1 / Double(max(inputs, 1)).squareRoot() : 0.1
      let centre = shape.count == 1 && name.hasSuffix("weight") ? 1.0 : 0
      let values = Tensor.randn(shape, seed: seed &+ Self.hash(name)) * scale + centre
      return values.to(dtype, device: device)
    }
  }

  /// FNV-1a; Swift's own hashes differ from run to run.
  private static func hash(_ name: String) -> UInt64 {
    name.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
  }
}
