import Foundation
import Torch

extension Checkpoint {
  /// The shape of the model in the file, read off its header.
  ///
  /// - Throws: ``MVARError`` if the file holds none, or one that makes no sense.
  public func transformerConfiguration() throws -> TransformerConfiguration {
    let parameters = try header(.transformer)
    do {
      var configuration = try withTorchErrors { try TransformerConfiguration(parameters) }
      if let names = classNames, names.count == configuration.classes {
        configuration.classNames = names
      }
      return configuration
    } catch let error as MVARError {
      throw MVARError(error.kind, "\(file): \(error.description)")
    }
  }

  /// The shape of the tokenizer in the file, read off its header.
  ///
  /// - Throws: ``MVARError`` if the file holds none.
  public func tokenizerConfiguration() throws -> TokenizerConfiguration {
    TokenizerConfiguration(try header(.tokenizer))
  }

  /// The names of the classes as `mvar train model` notes them: a list in JSON, under "classes".
  private var classNames: [String]? {
    notes["classes"].flatMap { try? JSONDecoder().decode([String].self, from: Data($0.utf8)) }
  }

  private func header(_ role: Role) throws -> Parameters {
    try LibTorch.load()  // A model's schedule is a tensor, if a small one.
    return Parameters(try source(role), dtype: .float32, device: .cpu)
  }
}
