import ArgumentParser

/// How the program ended.
enum ExitStatus: Equatable {
  case success
  case failure
  /// The command line itself is wrong.
  case usage
  /// A signal asked the program to stop, and it did.
  case interrupted

  var code: Int32 {
    switch self {
    case .success: 0
    case .failure: 1
    case .usage: 2
    case .interrupted: 130
    }
  }
}

/// A command line that cannot mean anything, found after parsing.
struct UsageError: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
}

/// Something outside the program that went wrong.
struct CommandError: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
}

/// An error as the user sees it.
struct Failure {
  let status: ExitStatus
  /// One line, or a whole page where help was asked for.
  let message: String

  init(_ error: any Error) {
    switch error {
    case is CancellationError:
      (status, message) = (.interrupted, "interrupted")
    case is UsageError:
      (status, message) = (.usage, oneLine("\(error)"))
    case let code as ExitCode:
      (status, message) = (code == .success ? .success : .failure, "")
    default:
      switch RootCommand.exitCode(for: error) {
      case .success: (status, message) = (.success, RootCommand.fullMessage(for: error))
      case .validationFailure: (status, message) = (.usage, Self.usage(error))
      default: (status, message) = (.failure, oneLine("\(error)"))
      }
    }
  }

  /// What the parser says, and where its help is.
  private static func usage(_ error: any Error) -> String {
    let message = oneLine(RootCommand.message(for: error))
    let help = RootCommand.fullMessage(for: error).split(separator: "'")
      .last { $0.hasPrefix("mvar") && $0.hasSuffix("--help") }
    guard let help else { return message }
    return "\(message.hasSuffix(".") ? String(message.dropLast()) : message); see `\(help)`"
  }
}

/// Text made fit for one line.
func oneLine(_ text: String) -> String {
  text.split(whereSeparator: \.isNewline)
    .map { line in line.split(separator: " ").joined(separator: " ") }
    .joined(separator: " ")
}
