#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A file mapped into memory to read, unmapped when it goes out of use.
///
/// The file must not be cut short while it is mapped: the system ends a program that reads bytes that are gone.
public final class MappedFile: Sendable {
  /// The file's path.
  public let path: String
  /// The file's size in bytes.
  public let count: Int
  // Written once, before the object is shared; the bytes behind it are read-only.
  private nonisolated(unsafe) let base: UnsafeMutableRawPointer?

  /// Maps a file.
  ///
  /// - Throws: ``CheckpointFormatError`` if it is not there, is not a plain file, or cannot be opened or mapped.
  public init(_ path: String) throws(CheckpointFormatError) {
    let file = try InputFile(path)
    self.path = path
    self.count = file.size
    guard file.size > 0 else {
      self.base = nil  // mmap refuses empty files
      return
    }
    guard let base = mmap(nil, file.size, PROT_READ, MAP_PRIVATE, file.descriptor, 0),
      base != MAP_FAILED
    else {
      throw CheckpointFormatError(
        .inputOutput, file: path, "cannot be mapped (\(systemErrorText()))",
        mend: "check the memory limits")
    }
    self.base = base
  }

  deinit {
    if let base { munmap(base, count) }
  }

  /// Some of the file's bytes, which are valid for as long as this object lives.
  ///
  /// - Throws: ``CheckpointFormatError`` if they are not inside the file.
  public func bytes(at offset: Int, count: Int) throws(CheckpointFormatError)
    -> UnsafeRawBufferPointer
  {
    guard offset >= 0, count >= 0, offset <= self.count, count <= self.count - offset else {
      throw .malformed(path, "it has \(self.count) bytes, and \(count) were needed at \(offset)")
    }
    return UnsafeRawBufferPointer(start: base.map { $0 + offset }, count: count)
  }

  /// Lets go of the pages that lie wholly inside a range; they are read again when they are used again.
  ///
  /// Loading a model tensor by tensor thus needs memory for the model and one tensor.
  public func release(at offset: Int, count: Int) {
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    let start = (offset + page - 1) / page * page
    let end = min(offset + count, self.count) / page * page
    guard let base, offset >= 0, start < end else { return }
    madvise(base + start, end - start, MADV_DONTNEED)
  }
}
