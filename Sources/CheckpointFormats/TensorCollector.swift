/// Finds the tensors in a pickle's value and gives each its dotted key.
struct TensorCollector {
  let file: String
  private(set) var tensors: [(name: String, tensor: PickledTensor)] = []
  private(set) var groups: [String] = []
  /// The tensors of each group, which follow each other; one run for each dictionary of that path.
  private(set) var places: [String: [Range<Int>]] = [:]
  private var names: Set<String> = []
  private var visited = 0

  /// Values that share parts can stand for far more than was written; no real checkpoint comes near this.
  private static let visitLimit = 500_000
  private static let nameLimit = 1024

  init(file: String) {
    self.file = file
  }

  mutating func collect(_ value: PickleValue, at path: String = "") throws(CheckpointFormatError) {
    visited += 1
    guard visited < Self.visitLimit else {
      throw .malformed(file, "its pickle holds more than \(Self.visitLimit) values")
    }
    guard path.utf8.count <= Self.nameLimit else {
      throw .malformed(file, "the key \(printable(path)) is longer than \(Self.nameLimit) bytes")
    }
    switch value {
    case .tensor(let tensor): try add(tensor, at: path)
    case .dictionary(let entries): try collect(entries, at: path)
    case .list(let items), .tuple(let items), .set(let items):
      for (index, item) in items.enumerated() {
        try collect(item, at: join(path, "\(index)"))
      }
    default: break
    }
  }

  private mutating func collect(
    _ entries: [(key: PickleValue, value: PickleValue)], at path: String
  ) throws(CheckpointFormatError) {
    let place = groups.count
    let before = tensors.count
    for (key, value) in entries {
      switch key {
      case .string(let name): try collect(value, at: join(path, name))
      case .int(let number): try collect(value, at: join(path, "\(number)"))
      default: break
      }
    }
    guard tensors.count > before else { return }
    groups.insert(path, at: place)
    places[path, default: []].append(before..<tensors.count)
  }

  private mutating func add(_ tensor: PickledTensor, at path: String) throws(CheckpointFormatError)
  {
    guard names.insert(path).inserted else {
      throw .malformed(file, "two of its tensors are called \(printable(path))")
    }
    tensors.append((path, tensor))
  }

  private func join(_ path: String, _ key: String) -> String {
    path.isEmpty ? key : "\(path).\(key)"
  }
}
