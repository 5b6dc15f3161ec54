import CZip
import Foundation

/// Writes a `.npz` file by libzip, uncompressed as `numpy.savez` does, whole or not at all; arrays that
/// do not fit into memory are asked for piece by piece.
struct NumPyWriter {
  /// One array.
  struct Item {
    let name: String
    let header: NumPyHeader
    /// Gives the next bytes, at most so many; nothing once all are given.
    let next: (_ limit: Int) throws -> [UInt8]

    init(_ name: String, _ header: NumPyHeader, next: @escaping (Int) throws -> [UInt8]) {
      (self.name, self.header, self.next) = (name, header, next)
    }

    init(_ name: String, shape: [Int], _ numbers: [Double]) {
      self.init(name, NumPyHeader(.float64, shape: shape), bytes: numbers.littleEndianBytes)
    }

    init(_ name: String, shape: [Int], _ numbers: [Float]) {
      self.init(name, NumPyHeader(.float32, shape: shape), bytes: numbers.littleEndianBytes)
    }

    init(_ name: String, shape: [Int], _ numbers: [Int64]) {
      self.init(name, NumPyHeader(.int64, shape: shape), bytes: numbers.littleEndianBytes)
    }

    private init(_ name: String, _ header: NumPyHeader, bytes: [UInt8]) {
      var position = 0
      self.init(name, header) { limit in
        let part = bytes[position..<min(position + limit, bytes.count)]
        position = part.endIndex
        return Array(part)
      }
    }
  }

  /// - Throws: ``EvaluationError`` where the file cannot be written, and what an item throws.
  static func write(_ items: [Item], to path: String) throws {
    var code: Int32 = 0
    guard let archive = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, &code) else {
      throw unwritable(path, "libzip's error \(code)")
    }
    let sources = items.map(ItemSource.init)
    for source in sources {
      let context = Unmanaged.passUnretained(source).toOpaque()
      guard let handle = zip_source_function(archive, itemCallback, context),
        case let index = zip_file_add(archive, source.item.name + ".npy", handle, ZIP_FL_ENC_UTF_8),
        index >= 0, zip_set_file_compression(archive, UInt64(index), ZIP_CM_STORE, 0) == 0,
        // 1980-01-01, so that the same content is the same file.
        zip_file_set_dostime(archive, UInt64(index), 0, 0x21, 0) == 0
      else {
        let reason = String(cString: zip_strerror(archive))
        zip_discard(archive)
        throw unwritable(path, reason)
      }
    }
    // libzip writes under a temporary name and renames.
    let status = withExtendedLifetime(sources) { zip_close(archive) }
    guard status == 0 else {
      let reason = String(cString: zip_strerror(archive))
      zip_discard(archive)
      throw sources.compactMap(\.failure).first ?? unwritable(path, reason)
    }
  }

  private static func unwritable(_ path: String, _ reason: String) -> EvaluationError {
    EvaluationError(
      .inputOutput, path, "cannot be written (\(reason))",
      mend: "check the folder and the room on the disk")
  }
}

extension Array where Element: BitwiseCopyable {
  /// The elements' bytes as they are in memory; all machines that this runs on are little-endian.
  var littleEndianBytes: [UInt8] { withUnsafeBytes { Array<UInt8>($0) } }
}

/// An item as libzip reads it.
private final class ItemSource {
  let item: NumPyWriter.Item
  var failure: (any Error)?
  private var pending: ArraySlice<UInt8>

  init(_ item: NumPyWriter.Item) {
    self.item = item
    pending = item.header.bytes[...]
  }

  var byteCount: Int { item.header.bytes.count + item.header.byteCount }

  /// Fills the buffer as far as there is something, or gives −1.
  func read(into buffer: UnsafeMutableRawBufferPointer) -> Int64 {
    do {
      if pending.isEmpty { pending = try item.next(max(buffer.count, 1 << 20))[...] }
      let part = pending.prefix(buffer.count)
      part.withUnsafeBytes { buffer.copyMemory(from: $0) }
      pending = pending.dropFirst(part.count)
      return Int64(part.count)
    } catch {
      failure = error
      return -1
    }
  }
}

private func itemCallback(
  _ context: UnsafeMutableRawPointer?, _ data: UnsafeMutableRawPointer?, _ count: UInt64,
  _ command: zip_source_cmd_t
) -> Int64 {
  let source = Unmanaged<ItemSource>.fromOpaque(context!).takeUnretainedValue()
  switch command {
  case ZIP_SOURCE_OPEN, ZIP_SOURCE_CLOSE, ZIP_SOURCE_FREE: return 0
  case ZIP_SOURCE_READ:
    return source.read(into: UnsafeMutableRawBufferPointer(start: data, count: Int(count)))
  case ZIP_SOURCE_STAT:
    let status = data!.assumingMemoryBound(to: zip_stat_t.self)
    zip_stat_init(status)
    status.pointee.size = UInt64(source.byteCount)
    status.pointee.valid |= UInt64(ZIP_STAT_SIZE)
    return Int64(MemoryLayout<zip_stat_t>.size)
  case ZIP_SOURCE_ERROR:
    let codes = data!.assumingMemoryBound(to: Int32.self)
    (codes[0], codes[1]) = (ZIP_ER_READ, EIO)
    return Int64(2 * MemoryLayout<Int32>.size)
  case ZIP_SOURCE_SUPPORTS:
    let commands = [
      ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR,
      ZIP_SOURCE_FREE,
    ]
    return commands.reduce(0) { $0 | 1 << Int64($1.rawValue) }
  default: return -1
  }
}
