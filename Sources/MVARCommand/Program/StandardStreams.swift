import Foundation

/// The program's two streams, written to at once and whole.
enum StandardStreams {
  /// Writes a line, or several.
  ///
  /// - Throws: ``CommandError`` where the stream leads to a full disk, for example.
  static func writeOutput(_ text: String) throws(CommandError) {
    guard write(text + "\n", to: STDOUT_FILENO) else {
      let reason = String(cString: strerror(errno))
      throw CommandError(
        "standard output cannot be written (\(reason)); send it to a place with room for it")
    }
  }

  /// Writes a line; there is nobody to tell if that fails.
  static func writeError(_ text: String, terminator: String = "\n") {
    _ = write(text + terminator, to: STDERR_FILENO)
  }

  /// Whether the error stream is a terminal that understands cursor movements.
  static var errorIsTerminal: Bool {
    isatty(STDERR_FILENO) == 1 && ProcessInfo.processInfo.environment["TERM"] != "dumb"
  }

  private static func write(_ text: String, to file: Int32) -> Bool {
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Foundation.write(file, $0.baseAddress, $0.count) }
      if count >= 0 { rest = rest.dropFirst(count) } else if errno != EINTR { return false }
    }
    return true
  }
}
