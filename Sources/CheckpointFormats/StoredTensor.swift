/// A run of bytes in a file.
public struct ByteRange: Sendable, Hashable {
  /// The file's path.
  public let file: String
  /// Where the run begins, in bytes from the start of the file.
  public let offset: Int
  /// How many bytes it has.
  public let count: Int

  public init(file: String, offset: Int, count: Int) {
    self.file = file
    self.offset = offset
    self.count = count
  }
}

/// A tensor that lies in a file: what it is called, how it is laid out, and where its bytes are.
///
/// Every instance that this module makes lies inside its storage; nothing more need be checked before mapping it.
public struct StoredTensor: Sendable, Hashable {
  /// The dotted key, such as `blocks.0.attn.proj.weight`.
  public let name: String
  /// The type of the elements.
  public let elementType: ElementType
  /// The sizes, outermost first; empty for a single number.
  public let shape: [Int]
  /// The step in elements along each dimension.
  public let strides: [Int]
  /// The bytes of the whole storage, which several tensors may share.
  public let storage: ByteRange
  /// Where in the storage the first element is, counted in elements.
  public let storageOffset: Int
}

extension StoredTensor {
  /// The number of elements.
  public var elementCount: Int { TensorLayout.elementCount(of: shape) ?? 0 }

  /// Whether the elements follow each other without a gap, the last dimension fastest.
  public var isContiguous: Bool { TensorLayout(shape: shape, strides: strides).isContiguous }

  /// The bytes of this tensor alone, or nil if it is not contiguous.
  public var contiguousBytes: ByteRange? {
    guard isContiguous else { return nil }
    let offset = storage.offset + storageOffset * elementType.byteCount
    return ByteRange(
      file: storage.file, offset: offset, count: elementCount * elementType.byteCount)
  }

  /// The same tensor under another name.
  public func renamed(_ name: String) -> StoredTensor {
    StoredTensor(
      name: name, elementType: elementType, shape: shape, strides: strides,
      storage: storage, storageOffset: storageOffset)
  }
}
