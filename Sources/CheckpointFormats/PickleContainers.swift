/// Instructions that make or fill a container.
extension PickleMachine {
  /// The value that the instruction leaves on the stack, or nil if it is of another kind.
  mutating func container(_ opcode: PickleOpcode) throws(CheckpointFormatError) -> PickleItem? {
    switch opcode {
    case .emptyTuple: make(.tuple([]))
    case .tuple: make(.tuple(try popToMark()))
    case .tuple1: make(.tuple(try pop(1)))
    case .tuple2: make(.tuple(try pop(2)))
    case .tuple3: make(.tuple(try pop(3)))
    case .emptyList: make(.list([]))
    case .list: make(.list(try popToMark()))
    case .emptySet: make(.set([]))
    case .frozenSet: make(.set(try popToMark()))
    case .emptyDict: make(.dictionary([]))
    case .dict: try dictionary(try popToMark())
    default: try filledContainer(opcode)
    }
  }

  private mutating func filledContainer(_ opcode: PickleOpcode) throws(CheckpointFormatError)
    -> PickleItem?
  {
    switch opcode {
    case .append: try filled(with: try pop(1))
    case .appends, .addItems: try filled(with: try popToMark())
    case .setItem: try filled(withPairs: try pop(2))
    case .setItems: try filled(withPairs: try popToMark())
    default: nil
    }
  }

  private mutating func filled(with items: [PickleItem]) throws(CheckpointFormatError) -> PickleItem
  {
    let container = try pop()
    try extend(container, with: items)
    return container
  }

  private mutating func filled(withPairs items: [PickleItem]) throws(CheckpointFormatError)
    -> PickleItem
  {
    let container = try pop()
    try extend(container, withPairs: items)
    return container
  }

  /// A new dictionary from alternating keys and values.
  mutating func dictionary(_ items: [PickleItem]) throws(CheckpointFormatError) -> PickleItem {
    let dictionary = make(.dictionary([]))
    try extend(dictionary, withPairs: items)
    return dictionary
  }
}
