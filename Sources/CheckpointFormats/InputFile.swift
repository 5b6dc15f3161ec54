#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// An open file to read from, closed when it goes out of use.
final class InputFile: Sendable {
  let path: String
  let size: Int
  let descriptor: Int32

  /// Opens a file.
  ///
  /// - Throws: ``CheckpointFormatError`` if it is not there, is not a plain file, or cannot be opened.
  init(_ path: String) throws(CheckpointFormatError) {
    // Not to block on a pipe that somebody named by mistake.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw Self.cannotOpen(path, errno) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      let isFolder = status.st_mode & S_IFMT == S_IFDIR
      close(descriptor)
      throw isFolder ? Self.isFolder(path) : Self.isNoFile(path)
    }
    self.path = path
    self.size = Int(status.st_size)
    self.descriptor = descriptor
  }

  deinit { close(descriptor) }

  /// The bytes at a place that must lie inside the file.
  ///
  /// - Throws: ``CheckpointFormatError`` if it does not, or if reading fails.
  func bytes(at offset: Int, count: Int) throws(CheckpointFormatError) -> [UInt8] {
    guard offset >= 0, count >= 0, offset <= size, count <= size - offset else {
      throw .malformed(path, "it has \(size) bytes, and \(count) were needed at \(offset)")
    }
    var failure: Int32 = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
      while filled < count {
        let step = pread(
          descriptor, buffer.baseAddress! + filled, count - filled, off_t(offset + filled))
        if step < 0, errno == EINTR { continue }
        if step <= 0 {
          failure = step < 0 ? errno : EIO
          return
        }
        filled += step
      }
    }
    guard failure == 0 else {
      throw CheckpointFormatError(
        .inputOutput, file: path, "reading failed (\(systemErrorText(failure)))",
        mend: "check the disk")
    }
    return bytes
  }
}

extension InputFile {
  private static func cannotOpen(_ path: String, _ code: Int32) -> CheckpointFormatError {
    let mend =
      switch code {
      case ENOENT: "check the path"
      case EACCES: "make it readable"
      default: "check the path and the disk"
      }
    return CheckpointFormatError(
      .inputOutput, file: path, "cannot be opened (\(systemErrorText(code)))", mend: mend)
  }

  private static func isFolder(_ path: String) -> CheckpointFormatError {
    CheckpointFormatError(
      .inputOutput, file: path, "is a folder", mend: "name the checkpoint file in it")
  }

  private static func isNoFile(_ path: String) -> CheckpointFormatError {
    CheckpointFormatError(
      .inputOutput, file: path, "is not a plain file", mend: "name a file on disk")
  }
}
