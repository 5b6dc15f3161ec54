import MVAR
import Torch

/// The float32 weights of a model under training, each a leaf that gathers its gradient.
///
/// Mixed precision is plain here. A model is a value made of tensors, cheap to make; training makes
/// it anew for each forward pass, with `Parameters(weights, dtype: .bfloat16, …)`. What it takes is
/// then a recorded function of the leaves: each weight cast once a pass, `−exp(A_log)`, the joined
/// biases of queries and values. The backward pass runs through the casts into float32, where AdamW
/// works. No operation is cast behind one's back; what has to stay in float32 (norms, the scan, the
/// loss) says so where it is computed.
public final class MasterWeights: ParameterSource {
  private let initial: any ParameterSource
  private let device: Device
  private var byName: [String: Tensor] = [:]
  private var isComplete = false

  /// All names in the order in which the model takes them.
  public private(set) var order: [String] = []

  /// Takes all that a model of this shape needs.
  ///
  /// - Parameter initial: A checkpoint, or an ``Initialization``.
  /// - Throws: `ParameterReport` where a checkpoint does not fit, or what the source threw.
  public convenience init(
    _ initial: any ParameterSource, configuration: TransformerConfiguration, device: Device
  ) throws {
    try self.init(initial, device: device) {
      _ = try Transformer($0, configuration: configuration)
    }
  }

  /// Takes all that `build` takes from its parameters.
  ///
  /// - Throws: As above, and what `build` throws.
  public init(
    _ initial: any ParameterSource, device: Device, build: (Parameters) throws -> Void
  ) throws {
    self.initial = initial
    self.device = device
    try withTorchErrors {
      try withoutGradient {
        let parameters = Parameters(self, dtype: .float32, device: device, purpose: .training)
        try build(parameters)
        try parameters.finish()
      }
    }
    isComplete = true
  }

  /// In ``order``.
  public var tensors: [Tensor] { order.map { byName[$0]! } }

  public var named: [(name: String, tensor: Tensor)] { order.map { ($0, byName[$0]!) } }

  /// Unknown until all are taken, so that a fresh source may have any.
  public var names: [String]? { isComplete ? order : nil }

  public func shape(of name: String, expected: [Int]) -> [Int]? {
    byName[name]?.shape ?? initial.shape(of: name, expected: expected)
  }

  public func tensor(_ name: String, shape: [Int], dtype: DType, device: Device) throws -> Tensor {
    if let leaf = byName[name] { return leaf.to(dtype) }
    let leaf = try initial.tensor(name, shape: shape, dtype: .float32, device: self.device)
    leaf.setRequiresGradient()
    byName[name] = leaf
    order.append(name)
    return leaf.to(dtype)
  }
}
