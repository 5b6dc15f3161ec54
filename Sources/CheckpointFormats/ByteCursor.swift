/// Reads little-endian numbers and runs of bytes in turn, and throws rather than read past the end.
struct ByteCursor {
  let bytes: [UInt8]
  let file: String
  private(set) var position = 0

  init(_ bytes: [UInt8], file: String) {
    self.bytes = bytes
    self.file = file
  }

  var remaining: Int { bytes.count - position }

  mutating func byte() throws(CheckpointFormatError) -> UInt8 {
    try take(1).first!
  }

  /// The next `count` bytes as one unsigned number.
  mutating func unsigned(_ count: Int) throws(CheckpointFormatError) -> UInt64 {
    try take(count).reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  /// A length of `width` bytes that must fit into what is left.
  mutating func length(_ width: Int) throws(CheckpointFormatError) -> Int {
    let length = try unsigned(width)
    guard length <= UInt64(remaining) else {
      throw .malformed(
        file, "the pickle announces \(length) bytes at byte \(position), but has only \(remaining)")
    }
    return Int(length)
  }

  mutating func take(_ count: Int) throws(CheckpointFormatError) -> ArraySlice<UInt8> {
    guard count <= remaining else {
      throw .malformed(file, "the pickle ends early, at byte \(bytes.count)")
    }
    defer { position += count }
    return bytes[position..<position + count]
  }

  /// The text up to the next line break, which is dropped.
  mutating func line() throws(CheckpointFormatError) -> String {
    guard let end = bytes[position...].firstIndex(of: 0x0A) else {
      throw .malformed(file, "the pickle ends in the middle of a name, at byte \(bytes.count)")
    }
    let text = try text(end - position)
    position += 1
    return text
  }

  mutating func text(_ count: Int) throws(CheckpointFormatError) -> String {
    let start = position
    guard let text = String(validating: try take(count), as: UTF8.self) else {
      throw .malformed(file, "the pickle has text at byte \(start) that is not UTF-8")
    }
    return text
  }
}
