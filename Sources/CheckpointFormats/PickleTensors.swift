/// Storages and tensors.
extension PickleMachine {
  /// The storage that a persistent id describes: `('storage', class, key, location, count)`; before
  /// PyTorch 1.6 a sixth part told of a view, and was `None` in all files but the very first.
  mutating func storage(_ id: [PickleItem]) throws(CheckpointFormatError) -> PickleItem {
    guard
      id.count == 5 || id.count == 6 && isNone(id[5]), case .string("storage") = id[0],
      case .global(.storage(let type)) = id[1],
      case .string(let key) = id[2], case .int(let count) = id[4]
    else { throw malformed("its reference to stored data is not one of a tensor's storage") }
    guard count >= 0 else { throw malformed("storage \(printable(key)) has \(count) elements") }
    return make(.storage(PickledStorage(key: key, elementType: type, count: count)))
  }

  private func isNone(_ item: PickleItem) -> Bool {
    if case .none = item { true } else { false }
  }

  /// `_rebuild_tensor_v3(storage, offset, shape, strides, requires_grad, hooks, type, …)`
  mutating func typedTensor(_ arguments: [PickleItem]) throws(CheckpointFormatError) -> PickleItem {
    guard arguments.count >= 7, case .global(.elementType(let type)) = arguments[6] else {
      throw malformed("a tensor's element type is missing")
    }
    return try tensor(arguments, type: type)
  }

  /// `_rebuild_tensor_v2(storage, offset, shape, strides, …)`
  mutating func tensor(
    _ arguments: [PickleItem], type: ElementType?
  ) throws(CheckpointFormatError) -> PickleItem {
    guard
      arguments.count >= 4, case .storage(let storage) = node(arguments[0]),
      case .int(let offset) = arguments[1],
      let elementType = type ?? storage.elementType
    else { throw malformed("a tensor lacks its storage, offset or element type") }
    let (bytes, overflow) = storage.count.multipliedReportingOverflow(
      by: storage.elementType?.byteCount ?? 1)
    guard !overflow else {
      throw malformed("storage \(printable(storage.key)) has \(storage.count) elements")
    }
    let tensor = PickledTensor(
      storageKey: storage.key, storageByteCount: bytes, elementType: elementType,
      storageOffset: offset,
      shape: try integers(arguments[2]), strides: try integers(arguments[3]))
    return make(.tensor(tensor))
  }

  private func integers(_ item: PickleItem) throws(CheckpointFormatError) -> [Int] {
    guard case .tuple(let elements) = node(item) else {
      throw malformed("a tensor's shape is not a tuple")
    }
    // Before they are copied: many tensors can share one endless tuple.
    guard elements.count <= TensorLayout.rankLimit else {
      throw malformed("a tensor has \(elements.count) dimensions")
    }
    var numbers: [Int] = []
    for element in elements {
      guard case .int(let number) = element else {
        throw malformed("a tensor's size is not a whole number")
      }
      numbers.append(number)
    }
    return numbers
  }
}
