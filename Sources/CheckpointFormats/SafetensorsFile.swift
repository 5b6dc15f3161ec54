/// The tensors of a safetensors file.
public struct SafetensorsFile: Sendable {
  /// The file's path.
  public let file: String
  /// The file's own notes.
  public let metadata: [String: String]
  /// All tensors in the order of their bytes.
  public let tensors: [StoredTensor]

  /// Reads and checks the header; no tensor's bytes are read.
  ///
  /// - Throws: ``CheckpointFormatError`` if the file cannot be read, breaks the format, or holds tensors of a type that
  ///   is not supported.
  public init(_ path: String) throws(CheckpointFormatError) {
    let file = try InputFile(path)
    let size = try Self.headerSize(in: file)
    let start = 8 + size
    let json = try file.bytes(at: 8, count: size)
    let header = try SafetensorsHeader(json: json, dataCount: file.size - start, file: path)
    self.file = path
    self.metadata = header.metadata
    self.tensors = header.entries.map { entry in
      StoredTensor(
        name: entry.name, elementType: entry.elementType, shape: entry.shape,
        strides: TensorLayout.contiguousStrides(of: entry.shape),
        storage: ByteRange(file: path, offset: start + entry.offset, count: entry.byteCount),
        storageOffset: 0)
    }
  }

  private static func headerSize(in file: InputFile) throws(CheckpointFormatError) -> Int {
    guard file.size >= 8 else {
      throw .malformed(file.path, "\(file.size) bytes are too few for a safetensors file")
    }
    let size = try file.bytes(at: 0, count: 8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    guard size <= UInt64(SafetensorsHeader.sizeLimit) else {
      throw .malformed(
        file.path, "its header of \(size) bytes is over the limit of \(SafetensorsHeader.sizeLimit)"
      )
    }
    guard size <= UInt64(file.size - 8) else {
      throw .malformed(file.path, "its header of \(size) bytes does not fit its \(file.size) bytes")
    }
    return Int(size)
  }
}
