/// What a pickle holds, as inert data.
public indirect enum PickleValue: Sendable {
  /// A dictionary, ordered or not, with its entries in the order written.
  case dictionary([(key: PickleValue, value: PickleValue)])
  case list([PickleValue])
  case tuple([PickleValue])
  case set([PickleValue])
  case string(String)
  case bytes([UInt8])
  case int(Int)
  case double(Double)
  case bool(Bool)
  case none
  case tensor(PickledTensor)
  /// A harmless value of another type, such as a NumPy scalar: only the type's name is kept.
  case opaque(String)
}

extension PickleValue {
  /// The value under a text key, if this is a dictionary that has it.
  public subscript(key: String) -> PickleValue? {
    guard case .dictionary(let entries) = self else { return nil }
    for case (.string(key), let value) in entries { return value }
    return nil
  }

  /// The text, if this is one.
  public var string: String? {
    if case .string(let value) = self { value } else { nil }
  }

  /// The whole number, if this is one.
  public var int: Int? {
    if case .int(let value) = self { value } else { nil }
  }

  /// The tensor, if this is one.
  public var tensor: PickledTensor? {
    if case .tensor(let value) = self { value } else { nil }
  }
}

/// A tensor as a pickle describes it; its numbers are unchecked until the storage is known.
public struct PickledTensor: Sendable, Hashable {
  /// The name of the storage's record, such as `17` for `data/17`.
  public let storageKey: String
  /// The size of the whole storage in bytes.
  public let storageByteCount: Int
  /// The type of the elements.
  public let elementType: ElementType
  /// Where in the storage the first element is, counted in elements.
  public let storageOffset: Int
  /// The sizes, outermost first.
  public let shape: [Int]
  /// The step in elements along each dimension.
  public let strides: [Int]
}
