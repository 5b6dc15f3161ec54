/// What libtorch could not do.
public struct TorchError: Error, CustomStringConvertible, Sendable {
  /// What a caller may want to tell apart.
  public enum Kind: Sendable {
    /// libtorch or the shim over it could not be opened.
    case libraryNotFound
    /// Memory of the CPU or of a GPU ran out.
    case outOfMemory
    /// An operation refused its operands.
    case operation
  }

  public let kind: Kind
  /// The operation's name.
  public let operation: String
  /// libtorch's message, on one line.
  public let message: String

  public init(kind: Kind, operation: String, message: String) {
    self.kind = kind
    self.operation = operation
    self.message = message
  }

  /// An error of an operation, its kind read off libtorch's message.
  init(operation: String, message: String) {
    let line = message.split(whereSeparator: \.isNewline).joined(separator: " ")
    let outOfMemory = ["out of memory", "can't allocate memory", "not enough memory"]
      .contains { line.contains($0) }
    self.init(
      kind: outOfMemory ? .outOfMemory : .operation, operation: operation, message: line)
  }

  public var description: String {
    switch kind {
    case .libraryNotFound: message
    case .outOfMemory:
      "out of memory (\(operation)): \(message); use a smaller batch or a smaller dtype"
    case .operation: "\(operation): \(message)"
    }
  }
}
