/// The stack machine that a pickle is written for, with data as its only effect.
struct PickleMachine {
  let file: String
  var cursor: ByteCursor
  private(set) var nodes: [PickleNode] = []
  private var stack: [PickleItem] = []
  private var marks: [Int] = []
  private var memo: [Int: PickleItem] = [:]
  private var copied = 0

  init(_ bytes: [UInt8], file: String) {
    self.file = file
    self.cursor = ByteCursor(bytes, file: file)
  }

  /// Runs to the end and gives the value that is left.
  mutating func run() throws(CheckpointFormatError) -> PickleItem {
    while true {
      let opcode = try nextOpcode()
      if opcode == .stop { return try pop() }
      if let atom = try atom(opcode) {
        push(atom)
      } else if let container = try container(opcode) {
        push(container)
      } else if let object = try object(opcode) {
        push(object)
      } else {
        try rearrange(opcode)
      }
      // A byte of a file makes a hundred of memory; checkpoints have a few values a tensor.
      guard nodes.count <= Self.mostValues, stack.count <= Self.mostValues else {
        throw malformed("it makes more than \(Self.mostValues) values")
      }
    }
  }

  private static let mostValues = 4_000_000

  private mutating func nextOpcode() throws(CheckpointFormatError) -> PickleOpcode {
    let byte = try cursor.byte()
    guard let opcode = PickleOpcode(rawValue: byte) else {
      throw malformed("instruction \(byte) is none of a tensor dictionary's")
    }
    return opcode
  }

  func malformed(_ problem: String) -> CheckpointFormatError {
    .malformed(file, "its pickle is not valid at byte \(cursor.position): \(problem)")
  }
}

/// The stack.
extension PickleMachine {
  mutating func push(_ item: PickleItem) {
    stack.append(item)
  }

  mutating func pop() throws(CheckpointFormatError) -> PickleItem {
    guard stack.count > (marks.last ?? 0) else {
      throw malformed("it takes a value that it never made")
    }
    return stack.removeLast()
  }

  /// The last `count` values, oldest first.
  mutating func pop(_ count: Int) throws(CheckpointFormatError) -> [PickleItem] {
    guard stack.count - (marks.last ?? 0) >= count else {
      throw malformed("it takes values that it never made")
    }
    defer { stack.removeLast(count) }
    return Array(stack.suffix(count))
  }

  /// The values since the last mark, oldest first.
  mutating func popToMark() throws(CheckpointFormatError) -> [PickleItem] {
    guard let mark = marks.popLast() else { throw malformed("it ends a group that it never began") }
    defer { stack.removeLast(stack.count - mark) }
    return Array(stack[mark...])
  }

  func top() throws(CheckpointFormatError) -> PickleItem {
    guard stack.count > (marks.last ?? 0), let top = stack.last else {
      throw malformed("it refers to a value that it never made")
    }
    return top
  }

  /// Instructions that only move values about.
  private mutating func rearrange(_ opcode: PickleOpcode) throws(CheckpointFormatError) {
    switch opcode {
    case .proto: try checkProtocol()
    case .frame: _ = try cursor.length(8)
    case .mark: marks.append(stack.count)
    case .pop: _ = try pop()
    case .popMark: _ = try popToMark()
    case .dup: push(try top())
    case .binPut: memo[Int(try cursor.unsigned(1))] = try top()
    case .longBinPut: memo[Int(try cursor.unsigned(4))] = try top()
    case .memoize: memo[memo.count] = try top()
    case .binGet: push(try recall(Int(try cursor.unsigned(1))))
    case .longBinGet: push(try recall(Int(try cursor.unsigned(4))))
    default: throw malformed("instruction \(opcode) is out of place")
    }
  }

  private mutating func checkProtocol() throws(CheckpointFormatError) {
    let version = try cursor.byte()
    guard (2...5).contains(version) else {
      throw malformed("protocol \(version) is not one of 2 to 5")
    }
  }

  private func recall(_ key: Int) throws(CheckpointFormatError) -> PickleItem {
    guard let item = memo[key] else {
      throw malformed("it recalls value \(key), which it never stored")
    }
    return item
  }
}

/// The nodes.
extension PickleMachine {
  mutating func make(_ node: PickleNode) -> PickleItem {
    nodes.append(node)
    return .node(nodes.count - 1)
  }

  func node(_ item: PickleItem) -> PickleNode? {
    if case .node(let index) = item { nodes[index] } else { nil }
  }

  /// Accounts for values that an instruction copies.
  ///
  /// A few bytes can ask for a copy of one long list, again and again, until memory is full; an honest pickle copies
  /// little of what it has written.
  mutating func allowCopy(of count: Int) throws(CheckpointFormatError) {
    copied += count
    guard copied <= 4 * cursor.bytes.count else {
      throw malformed("it copies its values over and over")
    }
  }

  /// Adds to a list or a set in place.
  mutating func extend(_ item: PickleItem, with items: [PickleItem]) throws(CheckpointFormatError) {
    guard case .node(let index) = item else {
      throw malformed("it adds to something that is not a list")
    }
    switch nodes[index] {
    case .list(var elements):
      nodes[index] = .tuple([])  // so that the elements have one owner and grow in place
      elements += items
      nodes[index] = .list(elements)
    case .set(var elements):
      nodes[index] = .tuple([])
      elements += items
      nodes[index] = .set(elements)
    default: throw malformed("it adds to something that is not a list")
    }
  }

  /// Adds alternating keys and values to a dictionary in place.
  mutating func extend(_ item: PickleItem, withPairs items: [PickleItem])
    throws(CheckpointFormatError)
  {
    guard case .node(let index) = item, case .dictionary(var entries) = nodes[index],
      items.count.isMultiple(of: 2)
    else { throw malformed("it sets keys of something that is not a dictionary") }
    nodes[index] = .tuple([])
    for pair in stride(from: 0, to: items.count, by: 2) {
      entries.append((items[pair], items[pair + 1]))
    }
    nodes[index] = .dictionary(entries)
  }
}
