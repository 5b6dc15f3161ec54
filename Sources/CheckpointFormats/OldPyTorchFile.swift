/// A `.pth` file as `torch.save` wrote it before PyTorch 1.6: four pickles in a row (a magic number, a
/// version, the machine's byte order, the object), a fifth that lists the storages, and their bytes.
struct OldPyTorchFile {
  /// The pickled object.
  let root: PickleValue
  /// Where each storage's bytes are, by its key.
  let storages: [String: ByteRange]

  /// The pickles of the largest models have less.
  private static let headLimit = 64 << 20
  /// Protocol 2, and the magic number as ten bytes.
  private static let magic: [UInt8] = [
    0x80, 0x02, 0x8A, 0x0A, 0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19, 0x2E,
  ]

  /// Whether a file that begins with these bytes is one.
  static func begins(_ head: [UInt8]) -> Bool { head.starts(with: magic) }

  init(_ file: InputFile) throws(CheckpointFormatError) {
    let reader = PickleReader(file: file.path)
    var head = try file.bytes(at: 0, count: min(file.size, Self.headLimit))
    var position = 0
    func next() throws(CheckpointFormatError) -> PickleReader.First {
      let first = try reader.readFirst(of: head)
      head.removeFirst(first.byteCount)
      position += first.byteCount
      return first
    }
    _ = try next()
    guard try next().value.int == 1001 else {
      throw .malformed(file.path, "its version of PyTorch's old format is not 1001")
    }
    try Self.checkByteOrder(try next().value, file.path)
    let object = try next()
    root = object.value
    guard case .list(let keys) = try next().value else {
      throw .malformed(file.path, "its list of storages is missing")
    }
    storages = try Self.locate(keys, object.storages, from: position, in: file)
  }

  private static func checkByteOrder(
    _ machine: PickleValue, _ path: String
  ) throws(CheckpointFormatError) {
    guard case .bool(true)? = machine["little_endian"] else {
      throw CheckpointFormatError(
        .unsupported, file: path, "its bytes are not little-endian, and only such are read",
        mend: "save it again on a little-endian machine")
    }
  }

  /// Each storage is the number of its elements, in eight bytes, and the elements.
  private static func locate(
    _ keys: [PickleValue], _ described: [PickledStorage], from start: Int, in file: InputFile
  ) throws(CheckpointFormatError) -> [String: ByteRange] {
    let described = Dictionary(described.map { ($0.key, $0) }) { first, _ in first }
    var storages: [String: ByteRange] = [:]
    var position = start
    for key in keys {
      guard let name = key.string, storages[name] == nil, let storage = described[name] else {
        throw .malformed(
          file.path, "its list of storages has one twice, or one that is not described")
      }
      let count = try file.bytes(at: position, count: 8).reversed()
        .reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
      let room = file.size - position - 8
      let width = storage.elementType?.byteCount ?? 1
      guard count == UInt64(storage.count), storage.count <= room / width else {
        throw .malformed(
          file.path, "storage \(printable(name)) of \(storage.count) elements is not whole")
      }
      storages[name] = ByteRange(
        file: file.path, offset: position + 8, count: storage.count * width)
      position += 8 + storage.count * width
    }
    return storages
  }
}

extension PyTorchArchive {
  /// Reads the table of contents of a file that `torch.save` wrote before PyTorch 1.6.
  ///
  /// - Throws: ``CheckpointFormatError`` as ``init(_:file:)``.
  public init(oldFile path: String) throws(CheckpointFormatError) {
    let old = try OldPyTorchFile(InputFile(path))
    var contents = TensorCollector(file: path)
    try contents.collect(old.root)
    var tensors: [StoredTensor] = []
    for (name, tensor) in contents.tensors {
      guard let storage = old.storages[tensor.storageKey] else {
        throw .malformed(path, "the bytes of \(printable(name)) are missing")
      }
      tensors.append(try tensor.stored(name, in: storage, file: path))
    }
    self.file = path
    self.root = old.root
    self.tensors = tensors
    self.groups = contents.groups
    self.places = contents.places
  }
}

extension PickledTensor {
  /// The tensor with the place of its bytes, checked to lie inside its storage.
  func stored(
    _ name: String, in storage: ByteRange, file: String
  ) throws(CheckpointFormatError) -> StoredTensor {
    guard storage.count == storageByteCount else {
      let problem =
        "storage \(printable(storageKey)) of \(printable(name)) has \(storage.count) bytes"
      throw .malformed(file, "\(problem) where its pickle says \(storageByteCount)")
    }
    let layout = TensorLayout(shape: shape, strides: strides)
    let capacity = storage.count / elementType.byteCount
    guard
      TensorLayout.byteCount(of: shape, as: elementType) != nil,
      let end = layout.end(from: storageOffset), end <= capacity
    else {
      let what = "shape \(shape), strides \(strides), offset \(storageOffset)"
      throw .malformed(
        file, "\(printable(name)) with \(what) is not inside its storage of \(capacity) elements")
    }
    return StoredTensor(
      name: name, elementType: elementType, shape: shape, strides: strides,
      storage: storage, storageOffset: storageOffset)
  }
}
