import MVAR
import Torch

/// Hands out a source's parameters and remembers them, so that they can be written to a file.
public final class RecordedWeights: ParameterSource {
  private let source: any ParameterSource
  public private(set) var tensors: [(name: String, tensor: Tensor)] = []

  public init(_ source: any ParameterSource) { self.source = source }

  public var names: [String]? { nil }

  public func shape(of name: String, expected: [Int]) -> [Int]? { expected }

  public func tensor(_ name: String, shape: [Int], dtype: DType, device: Device) throws -> Tensor {
    let tensor = try source.tensor(name, shape: shape, dtype: dtype, device: device)
    tensors.append((name, tensor))
    return tensor
  }
}
