import Pictures

#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What lies in a folder, hidden names left out, in the order of their bytes.
struct FolderListing {
  var folders: [String] = []
  var files: [String] = []

  /// - Throws: ``TrainingError`` where the folder cannot be read.
  init(_ path: String) throws(TrainingError) {
    guard let stream = opendir(path) else { throw Self.unreadable(path) }
    defer { closedir(stream) }
    errno = 0
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name.hasPrefix(".") { continue }
      if Self.isFolder(entry.pointee, "\(path)/\(name)") {
        folders.append(name)
      } else {
        files.append(name)
      }
      errno = 0
    }
    if errno != 0 { throw Self.unreadable(path) }
    folders.sort(by: Self.precedes)
    files.sort(by: Self.precedes)
  }

  /// All files below a folder, by their paths relative to it; links to folders are followed, but not
  /// in circles.
  static func allFiles(below path: String) throws(TrainingError) -> [String] {
    var found: [String] = []
    try collect(path, prefix: "", depth: 0, into: &found)
    return found
  }

  private static func collect(
    _ path: String, prefix: String, depth: Int, into found: inout [String]
  )
    throws(TrainingError)
  {
    guard depth < 32 else {
      throw .data(path, "folders lie more than 32 deep", mend: "remove the link that leads back")
    }
    let listing = try FolderListing(path)
    found += listing.files.map { prefix + $0 }
    for folder in listing.folders {
      try collect(
        "\(path)/\(folder)", prefix: "\(prefix)\(folder)/", depth: depth + 1, into: &found)
    }
  }

  /// The order of bytes, which no language setting changes.
  static func precedes(_ a: String, _ b: String) -> Bool {
    a.utf8.lexicographicallyPrecedes(b.utf8)
  }

  static func isFolder(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
  }

  /// Most file systems tell a folder in its listing, which saves a call for each of a million files.
  private static func isFolder(_ entry: dirent, _ path: String) -> Bool {
    switch Int(entry.d_type) {
    case Int(DT_DIR): true
    case Int(DT_REG): false
    default: isFolder(path)
    }
  }

  private static func unreadable(_ path: String) -> TrainingError {
    let number = errno
    let mend =
      switch number {
      case ENOENT: "check the path"
      default: mendOfTooManyOpenFiles(number) ?? "name a folder that you may read"
      }
    return .data(path, "cannot be read (\(String(cString: strerror(number))))", mend: mend)
  }
}

extension String {
  /// The lowercased ending of a file's name, without the dot.
  var ending: String {
    let name = split(separator: "/").last ?? ""
    guard let dot = name.lastIndex(of: "."), dot > name.startIndex else { return "" }
    return name[name.index(after: dot)...].lowercased()
  }

  /// Whether the name is that of a picture that can be read.
  var namesPicture: Bool { ["png", "jpg", "jpeg", "webp"].contains(ending) }
}
