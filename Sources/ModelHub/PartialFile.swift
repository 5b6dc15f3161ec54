import Digests
import Foundation

/// A blob that is being fetched: it keeps what has come, whatever happens.
final class PartialFile {
  let path: String
  private let cache: HubCache
  private let descriptor: Int32
  private(set) var count: Int

  /// Opens what is there, to go on with it.
  init(_ path: String, in cache: HubCache) throws(HubError) {
    try cache.makeFolder(of: path)
    descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw cache.storage(path, "cannot be written", errno) }
    self.path = path
    self.cache = cache
    count = max(Int(lseek(descriptor, 0, SEEK_END)), 0)
  }

  deinit { close(descriptor) }

  func append(_ bytes: UnsafeRawBufferPointer) throws(HubError) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let part = UnsafeRawBufferPointer(rebasing: rest)
      let written = write(descriptor, part.baseAddress, part.count)
      if written < 0, errno == EINTR { continue }
      guard written > 0 else {
        throw cache.storage(path, "cannot be written", written < 0 ? errno : ENOSPC)
      }
      count += written
      rest = rest.dropFirst(written)
    }
  }

  /// Forgets all that has come.
  func restart() throws(HubError) {
    guard ftruncate(descriptor, 0) == 0, lseek(descriptor, 0, SEEK_SET) == 0 else {
      throw cache.storage(path, "cannot be written", errno)
    }
    count = 0
  }

  /// The digest that a blob's name promises: SHA-256 of a large file, or what git calls the SHA-1 of a
  /// blob; nil where the name is neither.
  ///
  /// - Throws: ``HubError`` where the file cannot be read, `CancellationError`.
  func digest(like name: String) throws -> String? {
    guard HubCache.isHexadecimal(name) else { return nil }
    let digest: MessageDigest
    switch name.count {
    case 64: digest = MessageDigest(.sha256)
    case 40:
      digest = MessageDigest(.sha1)
      digest.update("blob \(count)\0")
    default: return nil
    }
    var position = 0
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4 << 20, alignment: 16)
    defer { buffer.deallocate() }
    while position < count {
      try Task.checkCancellation()
      let read = pread(descriptor, buffer.baseAddress, buffer.count, off_t(position))
      if read < 0, errno == EINTR { continue }
      guard read > 0 else { throw cache.storage(path, "cannot be read", read < 0 ? errno : EIO) }
      digest.update(UnsafeRawBufferPointer(rebasing: buffer[..<read]))
      position += read
    }
    return digest.hexadecimal()
  }

  /// Gives the file its name, once its bytes are safe on the disk.
  func finish(as blob: String) throws(HubError) {
    guard fsync(descriptor) == 0, rename(path, blob) == 0 else {
      throw cache.storage(blob, "cannot be written", errno)
    }
  }

  func remove() { unlink(path) }
}
