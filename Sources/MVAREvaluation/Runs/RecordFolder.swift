import Foundation

/// Records of one size in files of a folder: written one after the other by one process or several,
/// each to a file of its own, and read by their index.
///
/// A record is its index, its bytes, and the index again with all bits turned: what was torn by an
/// interruption is told by its end, and passed over.
final class RecordFolder {
  private let folder: String
  private let stem: String
  /// Bytes of a record without its index.
  let size: Int

  private struct Place {
    let file: String
    let position: Int
  }

  /// Where each record is.
  private var places: [Int: Place] = [:]
  /// How far each file was looked through.
  private var seen: [String: Int] = [:]
  private var writer: Int32?
  private var readers: [String: Int32] = [:]

  init(_ folder: String, stem: String, size: Int) {
    (self.folder, self.stem, self.size) = (folder, stem, size)
  }

  deinit {
    if let writer { close(writer) }
    for reader in readers.values { close(reader) }
  }

  /// The indices of all records that are there.
  var indices: Set<Int> { Set(places.keys) }
  var count: Int { places.count }

  private var stride: Int { size + 16 }

  // MARK: Reading

  /// Looks for records that were written since the last time, by this process or others.
  func scan() throws {
    let files = try FileManager.default.contentsOfDirectory(atPath: folder).filter {
      $0.hasPrefix(stem + "-") && $0.hasSuffix(".records")
    }
    for file in files.sorted() { try scan(file) }
  }

  private func scan(_ file: String) throws {
    let reader = try reader(file)
    var status = stat()
    guard fstat(reader, &status) == 0 else { throw unreadable(file) }
    let whole = Int(status.st_size) / stride
    for record in (seen[file] ?? 0)..<max(whole, seen[file] ?? 0) {
      let position = record * stride
      let head = try number(reader, at: position, file)
      guard try number(reader, at: position + stride - 8, file) == ~head, head < 1 << 40 else {
        continue
      }
      places[Int(head)] = Place(file: file, position: position + 8)
    }
    seen[file] = whole
  }

  /// The bytes of a record that is there.
  func read(_ index: Int) throws -> [UInt8] {
    guard let place = places[index] else {
      throw EvaluationError(
        .malformed, folder, "the \(stem) of picture \(index) are missing", mend: "run it again")
    }
    var failed = false
    let reader = try reader(place.file)
    let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, filled in
      while filled < size {
        let step = pread(
          reader, buffer.baseAddress! + filled, size - filled, off_t(place.position + filled))
        if step < 0, errno == EINTR { continue }
        guard step > 0 else {
          failed = true
          return
        }
        filled += step
      }
    }
    guard !failed else { throw unreadable(place.file) }
    return bytes
  }

  private func number(_ reader: Int32, at position: Int, _ file: String) throws -> UInt64 {
    var value: UInt64 = 0
    guard pread(reader, &value, 8, off_t(position)) == 8 else { throw unreadable(file) }
    return value
  }

  private func reader(_ file: String) throws -> Int32 {
    if let reader = readers[file] { return reader }
    let reader = Foundation.open("\(folder)/\(file)", O_RDONLY | O_CLOEXEC)
    guard reader >= 0 else { throw unreadable(file) }
    readers[file] = reader
    return reader
  }

  // MARK: Writing

  /// Adds a record.
  ///
  /// - Throws: ``EvaluationError`` where the disk is full, for example.
  func append(_ index: Int, _ bytes: [UInt8], rank: Int) throws {
    precondition(bytes.count == size, "\(bytes.count) bytes in a record of \(size)")
    let writer = try writer ?? newFile(rank)
    self.writer = writer
    let number = UInt64(index)
    let record = [number].littleEndianBytes + bytes + [~number].littleEndianBytes
    var rest = record[...]
    while !rest.isEmpty {
      let step = rest.withUnsafeBytes { write(writer, $0.baseAddress, $0.count) }
      if step < 0, errno == EINTR { continue }
      guard step > 0 else { throw unwritable() }
      rest = rest.dropFirst(step)
    }
  }

  /// A file that no process has written to, so that an older one's torn end stays where it is.
  private func newFile(_ rank: Int) throws -> Int32 {
    for number in 0... {
      let path = "\(folder)/\(stem)-\(rank)-\(number).records"
      let file = Foundation.open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0o666)
      if file >= 0 { return file }
      guard errno == EEXIST else { throw unwritable() }
    }
    fatalError("no number is free")
  }

  /// Removes all files of records.
  func removeAll() {
    for file in Set(seen.keys) { unlink("\(folder)/\(file)") }
    places = [:]
  }

  private func unreadable(_ file: String) -> EvaluationError {
    EvaluationError(
      .inputOutput, "\(folder)/\(file)", "cannot be read (\(String(cString: strerror(errno))))",
      mend: "check the disk, or remove the file and run again")
  }

  private func unwritable() -> EvaluationError {
    EvaluationError(
      .inputOutput, folder, "cannot be written to (\(String(cString: strerror(errno))))",
      mend: "make room on the disk and run again: what is done is kept")
  }
}
