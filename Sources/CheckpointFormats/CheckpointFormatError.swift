/// Why a checkpoint could not be read or written: one line that names the file, the value and what to do.
public struct CheckpointFormatError: Error, CustomStringConvertible, Equatable {
  /// What sort of trouble it is, for a caller that treats some of them differently.
  public enum Kind: Sendable {
    /// The file is not there, is a folder, or cannot be opened, read or written.
    case inputOutput
    /// The file breaks its own format: damaged, cut short, or made by hand.
    case malformed
    /// The file is sound, but of a format or with a feature that is not read here.
    case unsupported
    /// The pickle asks to call something that is not part of a tensor dictionary.
    case refused
    /// Something that was asked for by name is not in the file.
    case missing
    /// The caller used the writer in a way that does not fit what it declared.
    case misuse
  }

  /// What sort of trouble it is.
  public let kind: Kind
  /// The file, as the caller named it.
  public let file: String
  /// The whole message, on one line.
  public let description: String

  init(_ kind: Kind, file: String, message: String) {
    self.kind = kind
    self.file = file
    self.description = message
  }

  /// `file: problem; mend`
  init(_ kind: Kind, file: String, _ problem: String, mend: String) {
    self.init(kind, file: file, message: "\(printable(path: file)): \(problem); \(mend)")
  }

  static func malformed(_ file: String, _ problem: String) -> Self {
    Self(.malformed, file: file, problem, mend: "the file is damaged or incomplete, fetch it again")
  }

  static func refused(_ file: String, calls name: String) -> Self {
    let message =
      "refused: the pickle in \(printable(path: file)) calls \(printable(name)); only tensor dictionaries are read"
    return Self(.refused, file: file, message: message)
  }
}

/// Text from a file made fit for one line of a message: no line breaks or hidden characters, not too long.
func printable(_ text: String, limit: Int = 120) -> String {
  var shown = ""
  for scalar in text.unicodeScalars.prefix(limit) {
    shown += isPlain(scalar) ? String(scalar) : "\\u{\(String(scalar.value, radix: 16))}"
  }
  return text.unicodeScalars.dropFirst(limit).isEmpty ? shown : shown + "…"
}

/// A path made fit for one line of a message; it is shown whole, to be copied.
func printable(path: String) -> String {
  printable(path, limit: 4096)
}

/// Whether a scalar shows as itself: the others break lines, move the cursor or turn the text around.
private func isPlain(_ scalar: Unicode.Scalar) -> Bool {
  switch scalar.properties.generalCategory {
  case .control, .format, .lineSeparator, .paragraphSeparator: false
  default: true
  }
}
