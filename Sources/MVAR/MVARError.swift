/// What a user, a file or a machine caused; one line that names the thing, its value and what to do.
public struct MVARError: Error, Equatable, Sendable, CustomStringConvertible {
  public enum Kind: Sendable {
    /// A setting outside what it can be.
    case invalidValue
    /// A checkpoint that is not what it was named as, or lacks something.
    case checkpoint
    /// A tokenizer and a model, or a picture and a schedule, that do not belong together.
    case mismatch
    /// A device that is not there.
    case device
  }

  public let kind: Kind
  public let description: String

  public init(_ kind: Kind, _ description: String) {
    self.kind = kind
    self.description = description
  }

  static func invalidValue(_ name: String, _ value: String, mend: String) -> MVARError {
    MVARError(.invalidValue, "\(name) is \(value.isEmpty ? "empty" : value); \(mend)")
  }
}
