/// What a user, a file or the data did to a training run; one line that names the thing, its value
/// and what to do.
public struct TrainingError: Error, Equatable, Sendable, CustomStringConvertible {
  public enum Kind: Sendable {
    /// A setting outside what it can be.
    case setting
    /// Data that cannot be trained on.
    case data
    /// A run that cannot be resumed as asked.
    case resume
    /// A loss or a gradient that is no number any more.
    case divergence
    /// A file or folder that cannot be read or written.
    case file
    /// Another process that shares the work.
    case process
  }

  public let kind: Kind
  public let description: String

  public init(_ kind: Kind, _ description: String) {
    self.kind = kind
    self.description = description
  }
}
