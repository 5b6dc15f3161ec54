import Foundation

/// How many files this process may hold open at once, as data sets of thousands of shards need.
enum OpenFiles {
  /// Raises the limit as far as it goes without the administrator, where `count` more files ask for it;
  /// shells allow 1024 by default, and a hundred times as many on demand.
  static func allow(_ count: Int) {
    var limit = rlimit()
    // Of other files, and of libraries, there are fewer.
    let wanted = rlim_t(count) + 256
    guard getrlimit(kind, &limit) == 0, limit.rlim_cur < wanted else { return }
    limit.rlim_cur = limit.rlim_max
    // Where this fails, opening says so.
    _ = setrlimit(kind, &limit)
  }

  #if canImport(Glibc)
    private static let kind = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
  #else
    private static let kind = RLIMIT_NOFILE
  #endif
}

extension TrainingError {
  /// Of kind `file`: nothing is wrong with the data.
  static func openFiles(_ path: String, _ reason: Int32) -> TrainingError {
    TrainingError(
      .file,
      "\(path) cannot be opened (\(String(cString: strerror(reason)))); allow more by `ulimit -n`, or "
        + "make fewer and larger tar files")
  }
}
