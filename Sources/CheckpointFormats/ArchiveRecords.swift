/// The records of a PyTorch archive, by their names inside the archive's folder.
struct ArchiveRecords<Archive: ArchiveReader> {
  let archive: Archive
  let file: String
  private let prefix: String
  private let names: Set<String>
  private var storages: [String: ByteRange] = [:]

  private static var sizeLimit: Int { 100_000_000 }

  init(_ archive: Archive, file: String) throws(CheckpointFormatError) {
    self.archive = archive
    self.file = file
    self.names = Set(archive.recordNames)
    guard
      let index = archive.recordNames.first(where: { $0 == "data.pkl" || $0.hasSuffix("/data.pkl") }
      )
    else {
      throw CheckpointFormatError(
        .unsupported, file: file, "a zip file without data.pkl is not a PyTorch checkpoint",
        mend: "name a file made by torch.save")
    }
    self.prefix = String(index.dropLast("data.pkl".count))
  }

  /// A record to read whole, none of which is large; its size is checked before anything is read.
  func bytes(_ name: String) throws(CheckpointFormatError) -> [UInt8] {
    let range = try range(prefix + name)
    guard range.count <= Self.sizeLimit else {
      throw .malformed(
        file,
        "record \(printable(name)) of \(range.count) bytes is over the limit of \(Self.sizeLimit)")
    }
    do {
      return try archive.record(prefix + name)
    } catch {
      throw unreadable(name, error)
    }
  }

  /// Old archives do not say, and are little-endian.
  func checkByteOrder() throws(CheckpointFormatError) {
    guard names.contains(prefix + "byteorder") else { return }
    let order = String(decoding: try bytes("byteorder"), as: UTF8.self)
    guard order == "little" else {
      throw CheckpointFormatError(
        .unsupported, file: file,
        "its byte order is \"\(printable(order))\", and only little is read",
        mend: "save it again on a little-endian machine")
    }
  }

  /// The tensor with the place of its bytes, checked to lie inside its storage.
  mutating func locate(_ tensor: PickledTensor, name: String) throws(CheckpointFormatError)
    -> StoredTensor
  {
    try tensor.stored(name, in: try storage(tensor.storageKey, for: name), file: file)
  }

  private mutating func storage(_ key: String, for name: String) throws(CheckpointFormatError)
    -> ByteRange
  {
    if let known = storages[key] { return known }
    let record = "\(prefix)data/\(key)"
    guard names.contains(record) else {
      throw .malformed(
        file, "the bytes of \(printable(name)), record \(printable(record)), are missing")
    }
    let range = try range(record)
    storages[key] = range
    return range
  }

  /// Where a record's bytes are.
  private func range(_ record: String) throws(CheckpointFormatError) -> ByteRange {
    let location: (offset: Int, count: Int)?
    do { location = try archive.location(of: record) } catch { throw unreadable(record, error) }
    guard let location else {
      throw CheckpointFormatError(
        .unsupported, file: file, "record \(printable(record)) is compressed",
        mend: "save it again with torch.save")
    }
    let (offset, count) = location
    guard offset >= 0, count >= 0, !offset.addingReportingOverflow(count).overflow else {
      throw .malformed(file, "record \(printable(record)) has \(count) bytes at \(offset)")
    }
    return ByteRange(file: file, offset: offset, count: count)
  }

  private func unreadable(_ name: String, _ error: any Error) -> CheckpointFormatError {
    if let error = error as? CheckpointFormatError { return error }
    return .malformed(file, "record \(printable(name)) cannot be read (\(printable("\(error)")))")
  }
}
