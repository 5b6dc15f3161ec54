/// Turns the machine's nodes, which may refer to each other in any way, into a tree.
struct PickleValueBuilder {
  let nodes: [PickleNode]
  let file: String
  private var finished: [Int: PickleValue] = [:]
  private var depth = 0

  private static let depthLimit = 100

  init(nodes: [PickleNode], file: String) {
    self.nodes = nodes
    self.file = file
  }

  mutating func value(of item: PickleItem) throws(CheckpointFormatError) -> PickleValue {
    switch item {
    case .none: .none
    case .bool(let value): .bool(value)
    case .int(let value): .int(value)
    case .double(let value): .double(value)
    case .string(let value): .string(value)
    case .bytes(let value): .bytes(value)
    case .opaque(let name): .opaque(name)
    case .global(let rule): .opaque(rule.description)
    case .node(let index): try value(ofNode: index)
    }
  }

  /// Each node is built once, so that a value that many others share stays one value in memory.
  private mutating func value(ofNode index: Int) throws(CheckpointFormatError) -> PickleValue {
    if let value = finished[index] { return value }
    guard depth < Self.depthLimit else {
      throw .malformed(
        file, "its pickle nests more than \(Self.depthLimit) levels deep, or contains itself")
    }
    depth += 1
    defer { depth -= 1 }
    let value = try value(of: nodes[index])
    finished[index] = value
    return value
  }

  private mutating func value(of node: PickleNode) throws(CheckpointFormatError) -> PickleValue {
    switch node {
    case .dictionary(let entries): .dictionary(try values(of: entries))
    case .list(let items): .list(try values(of: items))
    case .tuple(let items): .tuple(try values(of: items))
    case .set(let items): .set(try values(of: items))
    case .tensor(let tensor): .tensor(tensor)
    case .storage(let storage): .opaque("storage \(storage.key)")
    }
  }

  private mutating func values(of items: [PickleItem]) throws(CheckpointFormatError)
    -> [PickleValue]
  {
    var values: [PickleValue] = []
    values.reserveCapacity(items.count)
    for item in items {
      values.append(try value(of: item))
    }
    return values
  }

  /// The entries of a dictionary; of those with one key the last value counts, in the first one's place.
  private mutating func values(
    of entries: [(key: PickleItem, value: PickleItem)]
  ) throws(CheckpointFormatError) -> [(key: PickleValue, value: PickleValue)] {
    var values: [(key: PickleValue, value: PickleValue)] = []
    var places: [String: Int] = [:]
    for entry in entries {
      let key = try value(of: entry.key)
      let value = try value(of: entry.value)
      if case .string(let name) = key {
        if let place = places[name] {
          values[place].value = value
          continue
        }
        places[name] = values.count
      }
      values.append((key, value))
    }
    return values
  }
}
