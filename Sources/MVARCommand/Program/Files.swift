import Foundation
import Pictures

/// Checks made before long work, so that it does not end with a result that cannot be kept.
enum Files {
  /// - Throws: ``CommandError`` if no file can be made or replaced at `path`.
  static func checkWritable(_ path: String) throws(CommandError) {
    guard !path.isEmpty else { throw CommandError("the file's name is empty; name one") }
    if isFolder(path) {
      throw CommandError("\(path) cannot be written (Is a directory); name a file inside it")
    }
    let exists = access(path, F_OK) == 0
    try checkFolder(isDevice(path) && exists ? path : folder(of: path), for: path)
  }

  private static func checkFolder(_ folder: String, for path: String) throws(CommandError) {
    if access(folder, W_OK) == 0 { return }
    let mend =
      errno == ENOENT || errno == ENOTDIR
      ? "make the folder first" : "choose a folder that you may write to"
    throw CommandError("\(path) cannot be written (\(reason())); \(mend)")
  }

  /// Makes a folder and those it lies in, where they are missing.
  ///
  /// - Returns: The folders made, innermost last.
  /// - Throws: ``CommandError`` if that fails, or the folder cannot be written to.
  static func makeFolder(_ path: String) throws(CommandError) -> [String] {
    guard !path.isEmpty else {
      throw CommandError("the folder's name is empty; name one, or . for this one")
    }
    var made: [String] = []
    var missing: [String] = []
    var current = path
    while !current.isEmpty, current != "/", current != ".", access(current, F_OK) != 0,
      errno == ENOENT
    {
      missing.append(current)
      current = folder(of: current)
    }
    for folder in missing.reversed() {
      guard mkdir(folder, 0o777) == 0 || errno == EEXIST else {
        let error = unusable(path)
        removeEmpty(made)
        throw error
      }
      made.append(folder)
    }
    guard isFolder(path) else {
      removeEmpty(made)
      if access(path, F_OK) == 0 { errno = ENOTDIR }
      throw unusable(path)
    }
    guard access(path, W_OK | X_OK) == 0 else { throw unusable(path) }
    return made
  }

  /// Removes folders that nothing was put into.
  static func removeEmpty(_ folders: [String]) {
    for folder in folders.reversed() { rmdir(folder) }
  }

  static func isFolder(_ path: String) -> Bool { kind(path) == S_IFDIR }

  /// What a file or a folder is, whatever path leads to it.
  struct Identity: Hashable {
    fileprivate let device: UInt64
    fileprivate let number: UInt64
  }

  /// Nil if there is nothing.
  static func identity(_ path: String) -> Identity? {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    return Identity(device: UInt64(status.st_dev), number: UInt64(status.st_ino))
  }

  /// Where a file is or will be.
  enum Place: Hashable {
    case file(Identity)
    case entry(Identity, String)
    /// In a folder that is not there.
    case path(String)

    init(_ path: String) {
      if let identity = Files.identity(path) {
        self = .file(identity)
      } else if let identity = Files.identity(folder(of: path)) {
        self = .entry(identity, name(of: path))
      } else {
        self = .path(path)
      }
    }
  }

  /// Whether two paths lead to the same file.
  static func areSame(_ a: String, _ b: String) -> Bool {
    guard let first = identity(a) else { return false }
    return first == identity(b)
  }

  /// The path without links; nil if there is nothing.
  static func realPath(_ path: String) -> String? {
    guard let real = realpath(path, nil) else { return nil }
    defer { free(real) }
    return String(cString: real)
  }

  /// The folder that a path lies in.
  static func folder(of path: String) -> String {
    let trimmed = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
    guard let slash = trimmed.lastIndex(of: "/") else { return "." }
    return slash == trimmed.startIndex ? "/" : String(trimmed[..<slash])
  }

  /// The last part of a path.
  static func name(of path: String) -> String {
    path.split(separator: "/").last.map(String.init) ?? path
  }

  /// The last part of a path without its ending.
  static func stem(of path: String) -> String {
    let name = name(of: path)
    guard let dot = name.lastIndex(of: "."), dot > name.startIndex else { return name }
    return String(name[..<dot])
  }

  static func join(_ folder: String, _ name: String) -> String {
    folder.hasSuffix("/") ? folder + name : "\(folder)/\(name)"
  }

  static func isDevice(_ path: String) -> Bool {
    kind(path).map { $0 != S_IFREG && $0 != S_IFDIR } ?? false
  }

  private static func kind(_ path: String) -> mode_t? {
    var status = stat()
    return stat(path, &status) == 0 ? status.st_mode & S_IFMT : nil
  }

  private static func unusable(_ path: String) -> CommandError {
    CommandError(
      "\(path) cannot be used as a folder (\(reason())); choose one that you may write to")
  }

  private static func reason() -> String { String(cString: strerror(errno)) }
}
