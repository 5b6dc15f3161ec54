import Torch

extension Transformer {
  /// Loads a model.
  ///
  /// - Throws: ``MVARError`` naming the file and what in it is missing, misshapen or left over.
  public static func load(
    _ checkpoint: Checkpoint, dtype: DType = .float32, device: Device = .cpu
  ) throws -> Transformer {
    try checkpoint.build(.transformer, dtype: dtype, device: device) { try Transformer($0) }
  }
}

extension Tokenizer {
  /// Loads a tokenizer.
  ///
  /// - Parameter encodes: Whether to load the encoder too.
  /// - Throws: ``MVARError`` naming the file and what in it is missing, misshapen or left over.
  public static func load(
    _ checkpoint: Checkpoint, dtype: DType = .float32, device: Device = .cpu, encodes: Bool = true
  ) throws -> Tokenizer {
    let unused = { (name: String) in
      !encodes && (name.hasPrefix("encoder.") || name.hasPrefix("quant_conv."))
    }
    return try checkpoint.build(.tokenizer, dtype: dtype, device: device, ignoring: unused) {
      Tokenizer($0, encodes: encodes)
    }
  }
}

extension Checkpoint {
  fileprivate func build<Model>(
    _ role: Role, dtype: DType, device: Device, ignoring: (String) -> Bool = { _ in false },
    _ make: (Parameters) throws -> Model
  ) throws -> Model {
    let parameters = Parameters(try source(role), dtype: dtype, device: device)
    do {
      return try withInferenceMode {
        try withTorchErrors {
          let model = try make(parameters)
          try parameters.finish(ignoring: ignoring)
          return model
        }
      }
    } catch let report as ParameterReport {
      throw MVARError(.checkpoint, "\(file): does not fit a \(role.rawValue): \(report)")
    } catch let error as MVARError {
      throw MVARError(error.kind, "\(file): \(error.description)")
    } catch let error as TorchError {
      throw TorchError(
        kind: error.kind, operation: "loading \(file): \(error.operation)", message: error.message)
    }
  }
}
