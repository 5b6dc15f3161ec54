/// Reads a pickle as data, and never runs it.
///
/// A pickle is a small program; this reader interprets the instructions that data is made of, and of the names that
/// a pickle may call knows only those that a dictionary of tensors needs. Any other name ends the reading at once.
public struct PickleReader: Sendable {
  /// The file that errors name.
  public let file: String

  /// - Parameter file: The file that errors name.
  public init(file: String) {
    self.file = file
  }

  /// What the pickle holds.
  ///
  /// - Throws: ``CheckpointFormatError`` if the pickle is malformed, nests too deeply, or names anything that is not
  ///   part of a dictionary of tensors.
  public func read(_ bytes: [UInt8]) throws(CheckpointFormatError) -> PickleValue {
    try readFirst(of: bytes).value
  }

  /// A pickle that others follow.
  struct First {
    let value: PickleValue
    let byteCount: Int
    /// All storages that it refers to.
    let storages: [PickledStorage]
  }

  /// The first of several pickles in a row.
  func readFirst(of bytes: [UInt8]) throws(CheckpointFormatError) -> First {
    var machine = PickleMachine(bytes, file: file)
    let root = try machine.run()
    var builder = PickleValueBuilder(nodes: machine.nodes, file: file)
    let storages = machine.nodes.compactMap { node in
      if case .storage(let storage) = node { storage } else { nil }
    }
    return First(
      value: try builder.value(of: root), byteCount: machine.cursor.position, storages: storages)
  }
}
