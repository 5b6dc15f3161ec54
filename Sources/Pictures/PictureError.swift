/// What went wrong with a picture, in one line that names the file, the value and the mend.
public struct PictureError: Error, Equatable, CustomStringConvertible {
  /// The sort of mistake, for a caller that answers each in its own way.
  public enum Kind: Sendable, Equatable {
    /// The file cannot be opened or read.
    case unreadable
    /// The process or the machine has too many files open; nothing is wrong with this one.
    case tooManyOpenFiles
    /// The bytes are no PNG, JPEG or WebP.
    case notAPicture
    /// The bytes begin like a picture, but end early, contradict themselves, or use a rare variant
    /// that the decoder does not know.
    case damaged
    /// More pixels or bytes than the limits allow, or than the format can hold.
    case tooLarge
    /// The file cannot be written.
    case unwritable
    /// An argument has a value that cannot be used.
    case invalidArgument
  }

  /// The sort of mistake.
  public let kind: Kind
  /// The file or, for bytes in memory, the name that the caller gave.
  public let name: String
  /// What is wrong, with the value found.
  public let problem: String
  /// What to do about it.
  public let mend: String

  /// One line, whatever the name or the value holds: control characters are escaped.
  public var description: String { oneLine("\(name) \(problem); \(mend)") }

  init(_ kind: Kind, _ name: String, _ problem: String, mend: String) {
    self.kind = kind
    self.name = name
    self.problem = problem
    self.mend = mend
  }
}

private func oneLine(_ text: String) -> String {
  var line = String.UnicodeScalarView()
  for scalar in text.unicodeScalars {
    switch scalar.properties.generalCategory {
    case .control, .lineSeparator, .paragraphSeparator:
      line.append(contentsOf: scalar.escaped(asASCII: true).unicodeScalars)
    default: line.append(scalar)
    }
  }
  return String(line)
}
