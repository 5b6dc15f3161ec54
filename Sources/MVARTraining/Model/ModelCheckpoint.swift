import Foundation
import MVAR
import Torch

/// What a checkpoint tells about its run, beside the tensors.
public struct RunState: Codable, Sendable, Equatable {
  /// Raised when older programs cannot read what is written.
  public static let format = 1

  public var format = RunState.format
  public var settings: ModelTrainingSettings
  /// Steps made; random numbers are a function of it and of the seed.
  public var step: Int
  public var position: DataPosition
  /// Of the model, as `1,2,3`.
  public var scales: String
  public var classes: Int
  /// By label; nil where the data has no names.
  public var classNames: [String]?

  /// Reads a checkpoint's state.
  ///
  /// - Throws: ``TrainingError`` where it is missing or not of this program's making.
  public init(checkpoint: String) throws(TrainingError) {
    let path = checkpoint + "/state.json"
    guard let data = FileManager.default.contents(atPath: path) else {
      throw TrainingError(.resume, "\(path) is missing; remove \(checkpoint), which is not whole")
    }
    do { self = try JSONDecoder().decode(Self.self, from: data) } catch {
      throw TrainingError(
        .resume,
        "\(path) is not the state of a run that this version can read; "
          + "remove \(checkpoint) or use the version that wrote it")
    }
    guard format == Self.format else {
      throw TrainingError(
        .resume, "\(path) is of format \(format), and this version reads \(Self.format)")
    }
  }

  init(
    settings: ModelTrainingSettings, step: Int, position: DataPosition, scales: String,
    classes: Int, classNames: [String]?
  ) {
    (self.settings, self.step, self.position) = (settings, step, position)
    (self.scales, self.classes, self.classNames) = (scales, classes, classNames)
  }

  func write(to folder: String) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    try RunFolder.write(encoder.encode(self), to: folder + "/state.json")
  }
}

extension ModelLearner {
  /// Writes everything that the run needs to go on into a folder.
  ///
  /// - Parameters:
  ///   - average: As ``gatheredAverage()`` has it.
  ///   - optimizer: As ``gatheredOptimizer()`` has it.
  func save(
    _ state: RunState, average: [Tensor]?, optimizer: [(name: String, tensor: Tensor)],
    in folder: String
  ) throws {
    try exportModel(nil, to: folder + "/model.safetensors", classNames: state.classNames)
    if let average {
      try exportModel(
        average, to: folder + "/average.safetensors", classNames: state.classNames)
    }
    try TensorFile.write(optimizer, to: folder + "/optimizer.safetensors")
    try state.write(to: folder)
  }

  /// Writes average weights, or the last where there is no average, as a published checkpoint.
  func exportModel(_ average: [Tensor]?, to path: String, classNames: [String]?) throws {
    try export(average ?? weights.tensors, to: path, classNames: classNames)
  }

  /// Under the published names, with the buffers that the reference's module asks for.
  ///
  /// - Parameter classNames: Kept in the file's notes as `classes`, a JSON list.
  private func export(_ tensors: [Tensor], to path: String, classNames: [String]?) throws {
    var notes = ["format": "pt"]
    if let classNames {
      notes["classes"] = String(decoding: try JSONEncoder().encode(classNames), as: UTF8.self)
    }
    try TensorFile.write(
      zip(weights.order, tensors).map { ($0, $1) } + configuration.buffers(), to: path,
      metadata: notes)
  }

  /// Takes over what ``save(_:average:optimizer:in:)`` wrote, the weights aside, which were there from
  /// the start; of what processes share its own part.
  ///
  /// - Throws: ``TrainingError`` naming a file that does not fit.
  func restore(_ state: RunState, from folder: String) throws {
    try RunFolder.read(optimizerTensors, from: folder + "/optimizer.safetensors")
    if let average {
      try RunFolder.read(
        zip(averaged, average).map { ($0, $1) }, from: folder + "/average.safetensors")
    }
    stepCount = state.step
  }
}

extension ModelTrainingSettings {
  /// Takes over what runs of earlier versions did not keep.
  mutating func adoptUnkept(from other: ModelTrainingSettings) {
    balance = balance ?? other.balance
    if holdOut == nil {
      (split, heldOutSplit, holdOut) = (other.split, other.heldOutSplit, other.holdOut)
    }
    dtype = dtype ?? other.dtype
  }

  /// The settings that differ from another run's, each as "depth is 16, not 12".
  func differences(from run: ModelTrainingSettings) -> [String] {
    let (ours, theirs) = (flattened, run.flattened)
    return Set(ours.keys).union(theirs.keys).sorted().filter { ours[$0] != theirs[$0] }
      .map { "\($0) is \(theirs[$0] ?? "by default"), not \(ours[$0] ?? "by default")" }
  }

  /// Every setting as text, under the name of its flag.
  private var flattened: [String: String] {
    guard let data = try? JSONEncoder().encode(self),
      let object = try? JSONSerialization.jsonObject(with: data) as? [String: Any]
    else { return [:] }
    var settings: [String: String] = [:]
    func add(_ object: [String: Any]) {
      for (name, value) in object {
        if let inner = value as? [String: Any] {
          add(inner)
        } else {
          settings[flag(name)] = "\(value)"
        }
      }
    }
    add(object)
    return settings
  }

  private func flag(_ name: String) -> String {
    name.map { $0.isUppercase ? "-\($0.lowercased())" : "\($0)" }.joined()
  }
}
