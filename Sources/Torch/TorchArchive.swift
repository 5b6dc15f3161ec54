import CTorch

/// The records of a zip archive that `torch.save` wrote, through libtorch's own reader.
public final class TorchArchive {
  private let handle: ct_archive
  public let recordNames: [String]

  /// - Throws: ``TorchError`` if the file is no such archive or cannot be read.
  public init(_ path: String) throws(TorchError) {
    let handle = try attempt("opening the archive", ct_archive?.none) {
      $0.archive_open(path, &$1)
    }!
    self.handle = handle
    do {
      let count = try attempt("archive_record_count", 0) { $0.archive_record_count(handle, &$1) }
      var names: [String] = []
      for index in 0..<count {
        let name = try attempt("archive_record_name", UnsafePointer<CChar>?.none) {
          $0.archive_record_name(handle, index, &$1)
        }
        names.append(String(cString: name!))
      }
      recordNames = names
    } catch {
      _ = LibTorch.table.pointee.archive_close(handle)
      throw error
    }
  }

  deinit { perform("archive_close") { $0.archive_close(handle) } }

  /// The size of a record once unpacked, in bytes.
  public func size(of record: String) throws(TorchError) -> Int {
    try attempt("archive_record_size", 0) { $0.archive_record_size(handle, record, &$1) }
  }

  /// Where a record's bytes begin in the file.
  public func offset(of record: String) throws(TorchError) -> Int {
    try attempt("archive_record_offset", 0) { $0.archive_record_offset(handle, record, &$1) }
  }

  /// The bytes of a record, unpacked and checked.
  public func bytes(of record: String) throws(TorchError) -> [UInt8] {
    let count = try size(of: record)
    var message: CMessage = nil
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      message = LibTorch.table.pointee.archive_read(handle, record, buffer.baseAddress, count)
      initialized = message == nil ? count : 0
    }
    if let message { throw TorchError(operation: "archive_read", message: takeString(message)) }
    return bytes
  }
}
