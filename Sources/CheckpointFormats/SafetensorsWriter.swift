/// Writes a safetensors file as the bytes come, so that no more than one tensor need be in memory.
///
/// The file has a temporary name until ``finish()``, and is removed if the writer goes out of use before that.
///
/// ```swift
/// let writer = try SafetensorsWriter("model.safetensors", tensors: declarations)
/// for tensor in writer.order {
///   try writer.write(tensorNamed: tensor.name, bytes: bytes(of: tensor))
/// }
/// try writer.finish()
/// ```
public final class SafetensorsWriter {
  /// The file's path.
  public let path: String
  /// The order in which the bytes are to be given: wide elements first, so that each tensor is aligned for its type.
  public let order: [TensorDeclaration]

  private let file: OutputFile
  private var current = 0
  private var written = 0

  /// Begins a file: its header is written at once.
  ///
  /// - Parameters:
  ///   - path: Where the file is to be.
  ///   - tensors: All tensors that it is to hold.
  ///   - metadata: Notes to keep with them.
  /// - Throws: ``CheckpointFormatError`` if two tensors share a name, a shape is not valid, or the file cannot be made.
  public init(
    _ path: String, tensors: [TensorDeclaration], metadata: [String: String] = [:]
  ) throws(CheckpointFormatError) {
    self.path = path
    self.order = tensors.enumerated()
      .sorted {
        ($1.element.elementType.byteCount, $0.offset) < (
          $0.element.elementType.byteCount, $1.offset
        )
      }
      .map(\.element)
    let header = try SafetensorsHeaderText.bytes(for: order, metadata: metadata, file: path)
    self.file = try OutputFile(path)
    try write(header)
    skipEmptyTensors()
  }

  /// Writes the next bytes of the tensor whose turn it is; they may come in several parts.
  ///
  /// - Throws: ``CheckpointFormatError`` if it is another tensor's turn, the bytes are too many, or the disk is full.
  public func write(tensorNamed name: String, bytes: UnsafeRawBufferPointer)
    throws(CheckpointFormatError)
  {
    if bytes.isEmpty, order.contains(where: { $0.name == name }) { return }
    guard current < order.count, order[current].name == name else {
      let turn =
        current < order.count
        ? "it is \(printable(order[current].name))'s turn" : "all bytes are written"
      throw misuse("\(printable(name)) was given, but \(turn)")
    }
    let room = byteCount(of: order[current]) - written
    guard bytes.count <= room else {
      throw misuse(
        "\(printable(name)) was given \(bytes.count) bytes where \(room) were left to write")
    }
    try file.write(bytes)
    written += bytes.count
    skipEmptyTensors()
  }

  /// Writes the next bytes of the tensor whose turn it is; they may come in several parts.
  ///
  /// - Throws: ``CheckpointFormatError`` if it is another tensor's turn, the bytes are too many, or the disk is full.
  public func write(tensorNamed name: String, bytes: [UInt8]) throws(CheckpointFormatError) {
    try bytes.withRawBytes { (buffer) throws(CheckpointFormatError) in
      try write(tensorNamed: name, bytes: buffer)
    }
  }

  /// Gives the file its name, once all bytes are written and safe on the disk.
  ///
  /// - Throws: ``CheckpointFormatError`` if bytes are missing or the file cannot be put in its place.
  public func finish() throws(CheckpointFormatError) {
    guard current == order.count else {
      let tensor = order[current]
      throw misuse("\(printable(tensor.name)) got \(written) of its \(byteCount(of: tensor)) bytes")
    }
    try file.finish()
  }

  /// Removes what was written. Without this it happens when the writer goes out of use.
  public func abandon() {
    file.abandon()
  }
}

extension SafetensorsWriter {
  /// Writes a whole file, asking for each tensor's bytes in turn.
  ///
  /// - Parameters:
  ///   - path: Where the file is to be.
  ///   - tensors: All tensors that it is to hold.
  ///   - metadata: Notes to keep with them.
  ///   - bytes: Called with each tensor and a function to pass its bytes to, in as many parts as is convenient.
  /// - Throws: ``CheckpointFormatError`` if the file cannot be written, and whatever `bytes` throws; in both cases no file
  ///   is left behind.
  public static func write(
    _ path: String, tensors: [TensorDeclaration], metadata: [String: String] = [:],
    bytes: (TensorDeclaration, (UnsafeRawBufferPointer) throws -> Void) throws -> Void
  ) throws {
    let writer = try SafetensorsWriter(path, tensors: tensors, metadata: metadata)
    defer { writer.abandon() }
    for tensor in writer.order {
      try bytes(tensor) { try writer.write(tensorNamed: tensor.name, bytes: $0) }
    }
    try writer.finish()
  }

  private func write(_ bytes: [UInt8]) throws(CheckpointFormatError) {
    try bytes.withRawBytes { (buffer) throws(CheckpointFormatError) in try file.write(buffer) }
  }

  /// Moves on to the next tensor that still needs bytes.
  private func skipEmptyTensors() {
    while current < order.count, written == byteCount(of: order[current]) {
      current += 1
      written = 0
    }
  }

  /// The header's making has checked that this does not overflow.
  private func byteCount(of tensor: TensorDeclaration) -> Int {
    TensorLayout.byteCount(of: tensor.shape, as: tensor.elementType) ?? 0
  }

  private func misuse(_ problem: String) -> CheckpointFormatError {
    CheckpointFormatError(
      .misuse, file: path, problem, mend: "write the tensors in the writer's order")
  }
}

extension [UInt8] {
  /// `withUnsafeBytes`, with the type of the error kept.
  func withRawBytes<Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Void
  ) throws(Failure) {
    var failure: Failure?
    withUnsafeBytes { buffer in
      do throws(Failure) { try body(buffer) } catch { failure = error }
    }
    if let failure { throw failure }
  }
}
