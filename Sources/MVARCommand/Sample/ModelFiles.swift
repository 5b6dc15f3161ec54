import Foundation
import MVAR

/// A model and the tokenizer that goes with it.
struct ModelFiles {
  let model: String
  let tokenizer: String
  let configuration: TransformerConfiguration
  /// All files that they are kept in.
  let filesRead: [String]

  /// Where a tokenizer is looked for beside a model.
  static let tokenizerNames = [
    "vae_ch160v4096z32.pth", "vae_ch160v4096z32.safetensors", "tokenizer.pth",
    "tokenizer.safetensors",
  ]

  /// Reads the headers only.
  ///
  /// - Throws: Where a file cannot be read, the model is none, or no tokenizer is found.
  init(model: String, tokenizer: String?) throws {
    let checkpoint = try Checkpoint(model)
    self.model = model
    configuration = try checkpoint.transformerConfiguration()
    guard configuration.classes >= 0 else {
      throw CommandError(
        "\(model): class_emb.weight has no rows, not even the one for no class; the file is damaged"
      )
    }
    if let tokenizer {
      self.tokenizer = tokenizer
      // A wrong file is better told before the model is read.
      let other = try Checkpoint(tokenizer)
      _ = try other.tokenizerConfiguration()
      filesRead = checkpoint.filesRead + other.filesRead
    } else if checkpoint.parts[.tokenizer] != nil {
      self.tokenizer = model
      filesRead = checkpoint.filesRead
    } else {
      self.tokenizer = try Self.neighbour(of: model)
      filesRead = checkpoint.filesRead + [self.tokenizer]
    }
  }

  /// Finds the files that names stand for, fetching them if they are not here.
  ///
  /// A model that is known by its name brings its tokenizer along.
  ///
  /// - Throws: As ``init(model:tokenizer:)``, and where a name stands for nothing or its file cannot be
  ///   fetched.
  static func find(model: String, tokenizer: String?, in source: ModelSource) async throws
    -> ModelFiles
  {
    let known =
      if case .known(let model) = try ModelName(model) { model.tokenizer?.name } else {
        String?.none
      }
    let found = try await source.find([model] + [tokenizer ?? known].compactMap { $0 })
    return try ModelFiles(
      model: found[0].path, tokenizer: found.count > 1 ? found[1].path : nil)
  }

  /// Loads them, and warns where the GPU's kernels are missing.
  ///
  /// - Throws: As `ImageGenerator.init`, and `CancellationError` where that was asked for meanwhile.
  func generator(_ options: ComputeOptions, edits: Bool = false, _ console: Console) async throws
    -> ImageGenerator
  {
    let generator = try await ImageGenerator(
      model: model, tokenizer: tokenizer, options: options, edits: edits)
    try Task.checkCancellation()
    console.warn(kernelFailure: generator.kernelFailure)
    return generator
  }

  /// The size of the pictures, in pixels.
  func pictureSize() throws -> (width: Int, height: Int) {
    let patch = try Checkpoint(tokenizer).tokenizerConfiguration().patchSize
    let final = configuration.schedule.final
    return (final.width * patch, final.height * patch)
  }

  private static func neighbour(of model: String) throws -> String {
    let folder = Files.folder(of: model)
    let paths = tokenizerNames.map { folder == "." ? $0 : Files.join(folder, $0) }
    guard let found = paths.first(where: { access($0, F_OK) == 0 }) else {
      throw UsageError(
        "\(model) holds no tokenizer and none lies beside it (\(tokenizerNames[0]) or "
          + "\(tokenizerNames[2])); name one with --tokenizer")
    }
    return found
  }
}
