import Foundation
import MVAR
import Torch

/// What a tokenizer's checkpoint tells about its run, beside the tensors.
struct TokenizerRunState: Codable, Equatable {
  /// Raised when older programs cannot read what is written.
  static let format = 1

  var format = TokenizerRunState.format
  var settings: TokenizerTrainingSettings
  /// Steps made; random numbers are a function of it and of the seed.
  var step: Int
  /// The batch that comes next.
  var position: DataPosition
  /// What the pictures were.
  var contents: String

  init(settings: TokenizerTrainingSettings, step: Int, position: DataPosition, contents: String) {
    (self.settings, self.step) = (settings, step)
    (self.position, self.contents) = (position, contents)
  }

  /// Reads a checkpoint's state.
  ///
  /// - Throws: ``TrainingError`` where it is missing or not of this program's making.
  init(checkpoint: String) throws(TrainingError) {
    let path = checkpoint + "/state.json"
    guard let data = FileManager.default.contents(atPath: path) else {
      throw TrainingError(.resume, "\(path) is missing; remove \(checkpoint), which is not whole")
    }
    do { self = try JSONDecoder().decode(Self.self, from: data) } catch {
      throw TrainingError(
        .resume,
        "\(path) is not the state of a tokenizer's run that this version can read; "
          + "remove \(checkpoint) or use the version that wrote it")
    }
    guard format == Self.format else {
      throw TrainingError(
        .resume, "\(path) is of format \(format), and this version reads \(Self.format)")
    }
  }

  func write(to folder: String) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    try RunFolder.write(encoder.encode(self), to: folder + "/state.json")
  }
}

extension TokenizerLearner {
  /// Writes everything that the run needs to go on into a folder.
  func save(_ state: TokenizerRunState, in folder: String) throws {
    try export(weights.tensors, to: folder + "/tokenizer.safetensors")
    if let average { try export(average, to: folder + "/average.safetensors") }
    try TensorFile.write(runTensors, to: folder + "/optimizer.safetensors")
    if let adversary {
      try TensorFile.write(adversary.weights.named, to: folder + "/adversary.safetensors")
    }
    try state.write(to: folder)
  }

  /// The average weights, or the last where there is no average, as a published tokenizer.
  public func exportTokenizer(to path: String) throws {
    try export(average ?? weights.tensors, to: path)
  }

  /// Under the published names, with the buffer of the codes' hits; the scales stand in the notes.
  private func export(_ tensors: [Tensor], to path: String) throws {
    try TensorFile.write(
      zip(weights.order, tensors).map { ($0, $1) }
        + [("quantize.ema_vocab_hit_SV", care.hits)],
      to: path, metadata: ["format": "pt", "scales": schedule.description])
  }

  /// What is neither a weight nor an average of one.
  private var runTensors: [(name: String, tensor: Tensor)] {
    func moments(_ optimizer: AdamW, _ prefix: String) -> [(name: String, tensor: Tensor)] {
      let means = optimizer.means.joined().enumerated().map { ("\(prefix)mean.\($0)", $1) }
      let squares = optimizer.squares.joined().enumerated().map { ("\(prefix)square.\($0)", $1) }
      return means + squares + [("\(prefix)step", optimizer.stepCount)]
    }
    return moments(optimizer, "")
      + (adversary.map { moments($0.optimizer, "adversary.") } ?? [])
      + [("codes.hits", care.hits), ("codes.recent", care.recent)]
  }

  /// Takes over what ``save(_:in:)`` wrote, the weights aside, which were there from the start.
  ///
  /// - Throws: ``TrainingError`` naming a file that does not fit.
  func restore(_ state: TokenizerRunState, from folder: String) throws {
    try RunFolder.read(runTensors, from: folder + "/optimizer.safetensors")
    if let average {
      try RunFolder.read(
        zip(weights.order, average).map { ($0, $1) }, from: folder + "/average.safetensors")
    }
    stepCount = state.step
  }
}
