import TorchTestSupport
import Foundation
import Testing

/// Runs the built program.
struct Mvar {
  let status: Int32
  let output: String
  let errors: String

  /// The program lies beside the tests.
  static let path =
    URL(filePath: CommandLine.arguments[0]).deletingLastPathComponent().appending(path: "mvar").path

  /// Flags that make a run small and the same on every machine.
  static let exact = ["--device", "cpu", "--dtype", "float32", "--threads", "2"]

  /// - Parameter folder: Where to run it.
  @discardableResult
  static func run(_ arguments: [String], in folder: TemporaryFolder) throws -> Mvar {
    let running = try Running(path, arguments, in: folder)
    return try running.finish()
  }

  /// Runs a shell's command line in which `$0` is the program.
  static func shell(_ line: String, _ arguments: [String], in folder: TemporaryFolder) throws
    -> Mvar
  {
    try Running("/bin/sh", ["-c", line, path] + arguments, in: folder).finish()
  }

  /// A run that goes on.
  ///
  /// Not Foundation's `Process`, which hangs where several run at once.
  final class Running {
    let processIdentifier: pid_t
    private let output: String
    private let errors: String

    init(_ program: String, _ arguments: [String], in folder: TemporaryFolder) throws {
      // Not pipes, which would have to be emptied meanwhile, and not in the folder that is looked at.
      output = NSTemporaryDirectory() + "mvar-out-\(UUID().uuidString)"
      errors = NSTemporaryDirectory() + "mvar-err-\(UUID().uuidString)"
      var actions = posix_spawn_file_actions_t()
      posix_spawn_file_actions_init(&actions)
      defer { posix_spawn_file_actions_destroy(&actions) }
      posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
      for (number, file) in [(Int32(1), output), (2, errors)] {
        posix_spawn_file_actions_addopen(&actions, number, file, O_WRONLY | O_CREAT, 0o600)
      }
      let shell = ["/bin/sh", "-c", "cd \"$0\" && exec \"$@\"", folder.path, program]
      var words = (shell + arguments).map { strdup($0) } + [nil]
      defer { for word in words { free(word) } }
      var identifier = pid_t()
      let failure = posix_spawn(&identifier, shell[0], &actions, nil, &words, environ)
      try #require(failure == 0, "\(program): \(String(cString: strerror(failure)))")
      processIdentifier = identifier
    }

    /// What the program has written to its standard output by now.
    func outputSoFar() throws -> String { try String(contentsOfFile: output, encoding: .utf8) }

    func finish() throws -> Mvar {
      var status: Int32 = 0
      while waitpid(processIdentifier, &status, 0) < 0, errno == EINTR {}
      defer { for file in [output, errors] { unlink(file) } }
      return Mvar(
        status: status & 0x7F == 0 ? status >> 8 & 0xFF : -1,
        output: try String(contentsOfFile: output, encoding: .utf8),
        errors: try String(contentsOfFile: errors, encoding: .utf8))
    }
  }
}

extension Mvar {
  /// Fails the test unless the run went well and had nothing to complain of.
  @discardableResult
  func expectSuccess(at location: SourceLocation = #_sourceLocation) -> Mvar {
    #expect(status == 0, "\(errors)", sourceLocation: location)
    return self
  }

  /// Fails the test unless the run ended with one clear line.
  func expectFailure(
    _ status: Int32, _ parts: [String], at location: SourceLocation = #_sourceLocation
  ) {
    #expect(self.status == status, "\(errors)", sourceLocation: location)
    let lines = errors.split(separator: "\n", omittingEmptySubsequences: true)
    #expect(lines.count == 1, "\(errors)", sourceLocation: location)
    #expect(errors.hasPrefix("mvar: "), "\(errors)", sourceLocation: location)
    for part in parts {
      #expect(errors.contains(part), "\(errors)", sourceLocation: location)
    }
  }
}
