/// What a user or a file caused in an evaluation; one line that names the thing, its value and the mend.
public struct EvaluationError: Error, Equatable, Sendable, CustomStringConvertible {
  public enum Kind: Sendable {
    /// A file that cannot be read or written.
    case inputOutput
    /// A file that breaks its own format.
    case malformed
    /// A sound file of another kind than is wanted.
    case wrongKind
    /// Pictures that do not fit together, or too few of them.
    case pictures
    /// Numbers that are infinite or none at all.
    case notFinite
    /// A run that was begun with other settings.
    case otherRun
    /// A setting outside what it can be.
    case invalidValue
  }

  public let kind: Kind
  public let description: String
  /// The description's middle.
  let problem: String

  /// - Parameter subject: The file or the setting.
  init(_ kind: Kind, _ subject: String, _ problem: String, mend: String) {
    self.kind = kind
    self.problem = problem
    description = "\(subject): \(problem); \(mend)"
      .split(whereSeparator: \.isNewline).joined(separator: " ")
  }
}
