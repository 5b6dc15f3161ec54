/// A value on the stack of the pickle machine.
///
/// Containers are indices into the machine's list of nodes: a pickle fills them after it has referred to them, may
/// make them contain themselves, and may nest them without end.
enum PickleItem {
  case none
  case bool(Bool)
  case int(Int)
  case double(Double)
  case string(String)
  case bytes([UInt8])
  case opaque(String)
  case global(PickleGlobal)
  case node(Int)
}

/// A value that other values refer to.
enum PickleNode {
  case dictionary([(key: PickleItem, value: PickleItem)])
  case list([PickleItem])
  case tuple([PickleItem])
  case set([PickleItem])
  case storage(PickledStorage)
  case tensor(PickledTensor)
}

/// What a persistent id says about a storage.
struct PickledStorage {
  let key: String
  /// Nil for an untyped storage, whose count is in bytes.
  let elementType: ElementType?
  let count: Int
}
