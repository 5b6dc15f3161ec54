/// Instructions that would call something, were this pickle run.
extension PickleMachine {
  /// The value that the instruction stands for, or nil if it is of another kind.
  mutating func object(_ opcode: PickleOpcode) throws(CheckpointFormatError) -> PickleItem? {
    switch opcode {
    case .global: return .global(try global(try cursor.line(), try cursor.line()))
    case .stackGlobal: return try stackGlobal()
    case .inst: throw .refused(file, calls: "\(try cursor.line()).\(try cursor.line())")
    case .reduce, .newObj:
      let arguments = try pop()
      return try apply(try pop(), to: try elements(arguments))
    case .newObjEx:
      let arguments = try pop(2)
      return try apply(try pop(), to: try elements(arguments[0]))
    case .build:
      let state = try pop()
      return try build(try pop(), from: state)
    case .binPersID: return try storage(try elements(try pop()))
    default: return nil
    }
  }

  private func global(_ module: String, _ name: String) throws(CheckpointFormatError)
    -> PickleGlobal
  {
    guard let rule = PickleGlobal(module: module, name: name) else {
      throw .refused(file, calls: "\(module).\(name)")
    }
    return rule
  }

  private mutating func stackGlobal() throws(CheckpointFormatError) -> PickleItem {
    let names = try pop(2)
    guard case .string(let module) = names[0], case .string(let name) = names[1] else {
      throw malformed("it names a class by something that is not text")
    }
    return .global(try global(module, name))
  }

  private func elements(_ item: PickleItem) throws(CheckpointFormatError) -> [PickleItem] {
    switch node(item) {
    case .tuple(let elements), .list(let elements), .set(let elements): return elements
    default: throw malformed("it needs a tuple")
    }
  }

  /// State given to an object after it was made: of a dictionary and of inert objects it is dropped.
  private func build(_ item: PickleItem, from state: PickleItem) throws(CheckpointFormatError)
    -> PickleItem
  {
    switch (item, node(item)) {
    case (.opaque, _), (_, .dictionary), (_, .tensor): return item
    default: throw malformed("it gives state to a value that has none")
    }
  }
}

/// The rules that names stand for.
extension PickleMachine {
  private mutating func apply(
    _ callee: PickleItem, to arguments: [PickleItem]
  ) throws(CheckpointFormatError) -> PickleItem {
    guard case .global(let rule) = callee else {
      throw malformed("it calls a value that is not a name")
    }
    switch rule {
    case .orderedDictionary: return try orderedDictionary(arguments)
    case .rebuildTensor: return try tensor(arguments, type: nil)
    case .rebuildTypedTensor: return try typedTensor(arguments)
    case .rebuildParameter: return try parameter(arguments)
    case .rebuildFromType: return try rebuildFromType(arguments)
    case .size: return make(.tuple(try copiedElements(arguments.first)))
    case .set: return make(.set(try copiedElements(arguments.first)))
    case .encode: return try encodedBytes(arguments)
    case .inert(let name): return .opaque(name)
    case .storage, .elementType: throw malformed("it calls a name that is only a type")
    }
  }

  /// The elements for a new collection, which may change without the one they came from.
  private mutating func copiedElements(_ item: PickleItem?) throws(CheckpointFormatError)
    -> [PickleItem]
  {
    guard let item else { return [] }
    let elements = try elements(item)
    try allowCopy(of: elements.count)
    return elements
  }

  /// An ordered dictionary: empty, from another dictionary, or from a list of pairs.
  private mutating func orderedDictionary(_ arguments: [PickleItem]) throws(CheckpointFormatError)
    -> PickleItem
  {
    guard let argument = arguments.first else { return make(.dictionary([])) }
    if case .dictionary(let entries) = node(argument) {
      try allowCopy(of: entries.count)
      return make(.dictionary(entries))
    }
    var items: [PickleItem] = []
    for pair in try copiedElements(argument) {
      let pair = try elements(pair)
      guard pair.count == 2 else { throw malformed("a dictionary's pair has \(pair.count) parts") }
      items += pair
    }
    return try dictionary(items)
  }

  /// Text of code points below 256, each of which is a byte.
  private mutating func encodedBytes(_ arguments: [PickleItem]) throws(CheckpointFormatError)
    -> PickleItem
  {
    guard case .string(let text) = arguments.first else {
      throw malformed("it encodes something that is not text")
    }
    try allowCopy(of: text.utf8.count)
    var bytes: [UInt8] = []
    for scalar in text.unicodeScalars {
      guard let byte = UInt8(exactly: scalar.value) else {
        throw malformed("it has bytes above 255")
      }
      bytes.append(byte)
    }
    return .bytes(bytes)
  }

  private mutating func parameter(_ arguments: [PickleItem]) throws(CheckpointFormatError)
    -> PickleItem
  {
    guard let data = arguments.first, case .tensor = node(data) else {
      throw malformed("a parameter is made of something that is not a tensor")
    }
    return data
  }

  private mutating func rebuildFromType(_ arguments: [PickleItem]) throws(CheckpointFormatError)
    -> PickleItem
  {
    guard arguments.count >= 3, case .global(let rule) = arguments[0] else {
      throw malformed("a tensor's type and its rule are missing")
    }
    // No rule calls another, so that a pickle cannot make this reader nest.
    guard rule != .rebuildFromType else { throw malformed("a tensor's rule refers to itself") }
    return try apply(arguments[0], to: try elements(arguments[2]))
  }
}
