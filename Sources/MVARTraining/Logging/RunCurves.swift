import Foundation

/// The numbers of one run, read back from its JSON lines.
public struct RunCurves: Sendable {
  /// One number at each of some steps.
  public struct Curve: Sendable, Equatable {
    public internal(set) var steps: [Int] = []
    public internal(set) var values: [Double] = []
  }

  /// What the run is called: its folder.
  public let name: String
  /// By name, such as `train/loss`.
  public let curves: [String: Curve]

  /// Reads a `.jsonl` file, or all those of a run's folder.
  ///
  /// A last line that was cut short is left out, as are numbers that are null.
  ///
  /// - Throws: ``TrainingError`` naming the file and the line that is no JSON object with a step.
  public init(_ path: String) throws {
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
      throw TrainingError(.file, "\(path) is not there; name a run's folder or its .jsonl file")
    }
    let files: [String]
    if isFolder.boolValue {
      files = try FolderListing(path).files.filter { $0.ending == "jsonl" }.map { "\(path)/\($0)" }
      if files.isEmpty {
        throw TrainingError(.file, "\(path) has no .jsonl log; name the folder of a training run")
      }
    } else {
      files = [path]
    }
    let named = isFolder.boolValue ? path : path.parent == "." ? path : path.parent
    name = named.split(separator: "/").last.map(String.init) ?? named
    var curves: [String: Curve] = [:]
    for file in files { try Self.read(file, into: &curves) }
    self.curves = curves
  }

  init(name: String, curves: [String: Curve]) { (self.name, self.curves) = (name, curves) }

  private static func read(_ path: String, into curves: inout [String: Curve]) throws {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw TrainingError(.file, "\(path) cannot be read; name a file that you may read")
    }
    let isWhole = data.last == UInt8(ascii: "\n")
    let lines = data.split(separator: UInt8(ascii: "\n"))
    for (number, line) in lines.enumerated() {
      guard let object = (try? JSONSerialization.jsonObject(with: line)) as? [String: Any],
        let step = object["step"] as? Int
      else {
        if number == lines.count - 1 && !isWhole { return }
        throw TrainingError(
          .file, "\(path): line \(number + 1) is no JSON object with a step; remove it")
      }
      for (name, value) in object where name != "step" {
        guard let value = value as? Double else { continue }
        curves[name, default: Curve()].steps.append(step)
        curves[name, default: Curve()].values.append(value)
      }
    }
  }
}
