#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A file that appears under its name only when it is whole.
///
/// Until then it has a temporary name in the same folder; it is removed if it is never finished.
final class OutputFile {
  let path: String
  let temporaryPath: String
  private var descriptor: Int32?

  init(_ path: String) throws(CheckpointFormatError) {
    let (folder, name) = Self.split(path)
    let tag = String(UInt64.random(in: 0...UInt64.max), radix: 36)
    // Names may have 255 bytes: a long one is shortened to leave room for the tag.
    let stem = String(decoding: name.utf8.prefix(200), as: UTF8.self)
    self.path = path
    self.temporaryPath = "\(folder).\(stem).\(tag).tmp"
    guard !name.isEmpty else {
      throw CheckpointFormatError(
        .inputOutput, file: path, "is a folder", mend: "name a file in it")
    }
    let descriptor = open(temporaryPath, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw failure(errno) }
    self.descriptor = descriptor
  }

  /// Writes to a file that is there already, such as a device; only for tests.
  init(_ path: String, writingTo device: String) throws(CheckpointFormatError) {
    self.path = path
    self.temporaryPath = path
    let descriptor = open(device, O_WRONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure(errno) }
    self.descriptor = descriptor
  }

  deinit { abandon() }

  func write(_ bytes: UnsafeRawBufferPointer) throws(CheckpointFormatError) {
    guard let descriptor else { throw failure(EBADF) }
    var rest = bytes[...]
    while !rest.isEmpty {
      let step = writeSome(descriptor, UnsafeRawBufferPointer(rebasing: rest))
      if step < 0, errno == EINTR { continue }
      guard step > 0 else { throw failure(step < 0 ? errno : ENOSPC) }
      rest = rest.dropFirst(step)
    }
  }

  /// Gives the file its name, once its bytes are safe on the disk.
  func finish() throws(CheckpointFormatError) {
    guard let descriptor else { throw failure(EBADF) }
    guard fsync(descriptor) == 0 else { throw failure(errno) }
    self.descriptor = nil
    guard close(descriptor) == 0, rename(temporaryPath, path) == 0 else {
      let code = errno
      unlink(temporaryPath)
      throw failure(code)
    }
    syncFolder()
  }

  /// Removes what was written.
  func abandon() {
    guard let descriptor else { return }
    close(descriptor)
    unlink(temporaryPath)
    self.descriptor = nil
  }
}

extension OutputFile {
  /// The folder with its final slash, or nothing; and the name.
  private static func split(_ path: String) -> (folder: String, name: String) {
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return ("", path) }
    return (String(path[...slash]), String(path[path.utf8.index(after: slash)...]))
  }

  /// Makes the new name itself last; not every file system can, and the bytes are safe already.
  private func syncFolder() {
    let folder = Self.split(path).folder
    let descriptor = open(folder.isEmpty ? "." : folder, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    fsync(descriptor)
    close(descriptor)
  }

  private func failure(_ code: Int32) -> CheckpointFormatError {
    let mend =
      switch code {
      case ENOSPC, EDQUOT: "make room on the disk"
      case EFBIG: "choose a disk that takes files of this size"
      case EACCES, EPERM, EROFS: "choose a folder that can be written"
      case ENOENT, ENOTDIR: "make the folder first"
      case EISDIR, ENOTEMPTY, EEXIST: "choose a name that is not a folder's"
      default: "check the path and the disk"
      }
    return CheckpointFormatError(
      .inputOutput, file: path, "cannot be written (\(systemErrorText(code)))", mend: mend)
  }
}

private func writeSome(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) -> Int {
  write(descriptor, bytes.baseAddress, bytes.count)
}
