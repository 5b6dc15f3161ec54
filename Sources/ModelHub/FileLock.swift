import Foundation

/// Keeps two processes from writing the same file.
final class FileLock {
  private let descriptor: Int32

  private init(_ descriptor: Int32) { self.descriptor = descriptor }

  deinit { close(descriptor) }

  /// Waits until no other process holds the lock.
  ///
  /// - Parameter waiting: Called once if somebody holds it.
  /// - Returns: Nil where the disk knows no locks: the digest will tell if two wrote at once.
  /// - Throws: ``HubError`` if the lock's file cannot be made, `CancellationError`.
  static func acquire(_ path: String, in cache: HubCache, waiting: () -> Void) async throws
    -> FileLock?
  {
    try cache.makeFolder(of: path)
    let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw cache.storage(path, "cannot be written", errno) }
    let lock = FileLock(descriptor)
    var hasWaited = false
    while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
      switch errno {
      case EWOULDBLOCK:
        if !hasWaited { waiting() }
        hasWaited = true
        try await Task.sleep(for: .milliseconds(100))
      case EINTR: continue
      default: return nil
      }
    }
    return lock
  }
}
