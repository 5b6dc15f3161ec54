import Foundation

/// A question to the person at the terminal.
enum Question {
  /// Whether there is one: both what is asked and what is answered must reach a terminal.
  static var canBeAsked: Bool { isatty(STDIN_FILENO) == 1 && isatty(STDERR_FILENO) == 1 }

  /// Asks for yes or no; anything but yes is no.
  ///
  /// - Throws: `CancellationError` after Ctrl-C.
  static func ask(_ text: String) async throws -> Bool {
    StandardStreams.writeError("\(text) [y/N] ", terminator: "")
    while true {
      // Waits in short steps, so that Ctrl-C is heard.
      var input = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
      if poll(&input, 1, 100) > 0 { break }
      if Task.isCancelled { StandardStreams.writeError("") }
      try Task.checkCancellation()
      await Task.yield()
    }
    let answer = readLine()?.trimmingCharacters(in: .whitespaces).lowercased()
    return ["y", "yes"].contains(answer)
  }
}
