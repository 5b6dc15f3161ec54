#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The system's calls that writing a file is made of, so that a test can make each of them fail.
struct FileCalls {
  var make: (_ path: String, _ flags: Int32, _ mode: mode_t) -> Int32 = { open($0, $1, $2) }
  var put: (_ file: Int32, _ bytes: UnsafeRawBufferPointer) -> Int = {
    write($0, $1.baseAddress, $1.count)
  }
  var flush: (_ file: Int32) -> Int32 = { fsync($0) }
  var move: (_ from: String, _ to: String) -> Int32 = { rename($0, $1) }
}

/// All of a file, which may be a pipe, of at most `limit` bytes.
package func readFile(_ path: String, atMost limit: Int) throws(PictureError) -> [UInt8] {
  func unreadable(_ number: Int32) -> PictureError {
    let mend =
      switch number {
      case ENOENT, ENOTDIR: "check the path"
      case EACCES, EPERM: "give yourself the right to read it"
      case EISDIR: "name a file inside it"
      default: mendOfTooManyOpenFiles(number) ?? "check the disk, then try again"
      }
    let kind: PictureError.Kind =
      mendOfTooManyOpenFiles(number) != nil ? .tooManyOpenFiles : .unreadable
    return PictureError(kind, path, "cannot be read (\(explain(number)))", mend: mend)
  }
  let file = open(path, O_RDONLY | O_CLOEXEC)
  if file < 0 { throw unreadable(errno) }
  defer { close(file) }
  var status = stat()
  if fstat(file, &status) != 0 { throw unreadable(errno) }
  let size = Int(status.st_size)
  if size > limit { throw .tooManyBytes(size, limit, path) }

  var bytes: [UInt8] = []
  bytes.reserveCapacity(size + 1)
  var part = [UInt8](repeating: 0, count: min(max(size + 1, 1 << 12), 1 << 20))
  while true {
    let count = part.withUnsafeMutableBytes { read(file, $0.baseAddress, $0.count) }
    if count < 0 && errno == EINTR { continue }
    if count < 0 { throw unreadable(errno) }
    if count == 0 { return bytes }
    bytes += part[..<count]
    if bytes.count > limit { throw .tooManyBytes(bytes.count, limit, path) }
  }
}

/// Puts `bytes` at `path`, whole or not at all.
func writeFile(_ bytes: [UInt8], to path: String, calls: FileCalls = FileCalls())
  throws(PictureError)
{
  func unwritable(_ number: Int32) -> PictureError {
    let mend =
      switch number {
      case ENOENT, ENOTDIR: "make the folder first"
      case EACCES, EPERM: "choose a folder that you may write to"
      case EROFS: "choose a folder on a disk that can be written"
      case ENOSPC, EDQUOT: "free some space or choose another disk"
      case EISDIR: "name a file inside it"
      case ENAMETOOLONG: "choose a shorter name"
      default: mendOfTooManyOpenFiles(number) ?? "check the disk, then try again"
      }
    return PictureError(.unwritable, path, "cannot be written (\(explain(number)))", mend: mend)
  }
  /// Writes everything to an open file, to the disk where it has one, and closes it.
  func fill(_ file: Int32, isDevice: Bool) throws(PictureError) {
    var failure: Int32 = 0
    bytes.withUnsafeBytes { all in
      var rest = all[...]
      while !rest.isEmpty && failure == 0 {
        let count = calls.put(file, UnsafeRawBufferPointer(rebasing: rest))
        if count >= 0 { rest = rest.dropFirst(count) } else if errno != EINTR { failure = errno }
      }
    }
    if failure == 0 && !isDevice && calls.flush(file) != 0 { failure = errno }
    if close(file) != 0 && failure == 0 { failure = errno }
    if failure != 0 { throw unwritable(failure) }
  }

  var target = path
  var mode: mode_t?
  var status = stat()
  if stat(path, &status) == 0 {
    switch status.st_mode & S_IFMT {
    case S_IFREG:
      // Replace the file that a link points to, not the link, and keep who may read it.
      mode = status.st_mode & 0o7777
      if let resolved = realpath(path, nil) {
        target = String(cString: resolved)
        free(resolved)
      }
    case S_IFDIR:
      throw unwritable(EISDIR)
    default:
      let device = calls.make(path, O_WRONLY | O_CLOEXEC, 0)
      if device < 0 { throw unwritable(errno) }
      return try fill(device, isDevice: true)
    }
  }

  let (folder, name) = split(target)
  let tag = String(UInt32.random(in: 0...UInt32.max), radix: 36)
  // Short enough that the name stays within the 255 bytes that disks allow.
  let start = String(String.UnicodeScalarView(name.unicodeScalars.prefix(40)))
  let temporary = "\(folder).\(start).\(tag).tmp"
  let file = calls.make(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
  if file < 0 { throw unwritable(errno) }
  do throws(PictureError) {
    if let mode { _ = fchmod(file, mode) }
    try fill(file, isDevice: false)
    if calls.move(temporary, target) != 0 { throw unwritable(errno) }
  } catch {
    unlink(temporary)
    throw error
  }
}

/// What to do where a file cannot be opened as this process, or all processes together, have as many open as they may; nil where
/// `number` (`errno`) says something else.
package func mendOfTooManyOpenFiles(_ number: Int32) -> String? {
  switch number {
  case EMFILE: "allow more open files by `ulimit -n`"
  case ENFILE: "end programs that have many files open, or raise the machine's limit (fs.file-max)"
  default: nil
  }
}

/// A path's folder, with its slash, and the rest.
private func split(_ path: String) -> (folder: Substring, name: Substring) {
  guard let slash = path.lastIndex(of: "/") else { return ("", path[...]) }
  return (path[...slash], path[path.index(after: slash)...])
}

/// The system's words for an error number.
private func explain(_ number: Int32) -> String {
  String(cString: strerror(number))
}
