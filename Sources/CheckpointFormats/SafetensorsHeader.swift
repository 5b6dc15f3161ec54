/// The table of contents at the start of a safetensors file.
struct SafetensorsHeader {
  /// A tensor whose offset counts from the end of the header.
  struct Entry {
    let name: String
    let elementType: ElementType
    let shape: [Int]
    let offset: Int
    let byteCount: Int
  }

  /// The largest header that the format allows.
  static let sizeLimit = 100_000_000

  let metadata: [String: String]
  /// In the order of their bytes.
  let entries: [Entry]

  /// Reads and checks a header.
  ///
  /// - Parameters:
  ///   - json: The header's text.
  ///   - dataCount: How many bytes follow it.
  init(json: [UInt8], dataCount: Int, file: String) throws(CheckpointFormatError) {
    let parser = SafetensorsHeaderParser(file: file)
    let members = try parser.members(json)
    var metadata: [String: String] = [:]
    var entries: [Entry] = []
    for member in members {
      if member.key == "__metadata__" {
        metadata = try parser.metadata(member.value)
      } else {
        entries.append(try parser.entry(member.key, member.value, dataCount: dataCount))
      }
    }
    // Of two at one place the empty one comes first, so that they do not seem to overlap.
    entries.sort { ($0.offset, $0.byteCount) < ($1.offset, $1.byteCount) }
    try parser.checkTiling(entries, dataCount: dataCount)
    self.metadata = metadata
    self.entries = entries
  }
}

struct SafetensorsHeaderParser {
  let file: String

  func members(_ json: [UInt8]) throws(CheckpointFormatError) -> [JSONValue.Member] {
    let value: JSONValue
    do { value = try JSONReader.read(json) } catch {
      throw .malformed(
        file, "its header is not valid JSON at byte \(8 + error.position) (\(error.problem))")
    }
    guard case .object(let members) = value else {
      throw .malformed(file, "its header is not a JSON object")
    }
    return members
  }

  func metadata(_ value: JSONValue) throws(CheckpointFormatError) -> [String: String] {
    guard case .object(let members) = value else {
      throw .malformed(file, "its __metadata__ is not an object")
    }
    var metadata: [String: String] = [:]
    for member in members {
      guard case .string(let text) = member.value else {
        throw .malformed(file, "its __metadata__ has \(printable(member.key)), which is not text")
      }
      metadata[member.key] = text
    }
    return metadata
  }

  func entry(
    _ name: String, _ value: JSONValue, dataCount: Int
  ) throws(CheckpointFormatError) -> SafetensorsHeader.Entry {
    guard case .object(let members) = value, members.count == 3 else {
      throw .malformed(file, "\(printable(name)) does not have just dtype, shape and data_offsets")
    }
    let type = try elementType(value["dtype"], of: name)
    let shape = try integers(value["shape"], called: "shape", of: name)
    let offsets = try integers(value["data_offsets"], called: "data_offsets", of: name)
    guard offsets.count == 2, offsets[0] <= offsets[1], offsets[1] <= dataCount else {
      throw .malformed(
        file,
        "\(printable(name)) has data_offsets \(printable("\(offsets)")) in \(dataCount) bytes of data"
      )
    }
    let count = offsets[1] - offsets[0]
    guard let needed = TensorLayout.byteCount(of: shape, as: type), needed == count else {
      throw .malformed(
        file,
        "\(printable(name)) of shape \(printable("\(shape)")) and type \(type) has \(count) bytes")
    }
    return .init(name: name, elementType: type, shape: shape, offset: offsets[0], byteCount: count)
  }

  private func elementType(_ value: JSONValue?, of name: String) throws(CheckpointFormatError)
    -> ElementType
  {
    guard case .string(let text) = value else {
      throw .malformed(file, "\(printable(name)) has no dtype")
    }
    guard let type = ElementType(safetensorsName: text) else {
      let known = ElementType.allCases.map(\.safetensorsName).joined(separator: ", ")
      throw CheckpointFormatError(
        .unsupported, file: file, "\(printable(name)) is of type \(printable(text))",
        mend: "convert it to one of \(known)")
    }
    return type
  }

  private func integers(
    _ value: JSONValue?, called key: String, of name: String
  ) throws(CheckpointFormatError) -> [Int] {
    guard case .array(let elements) = value else {
      throw .malformed(file, "\(printable(name)) has no \(key)")
    }
    var numbers: [Int] = []
    for element in elements {
      guard case .int(let number) = element, number >= 0 else {
        throw .malformed(
          file,
          "\(printable(name)) has a \(key) with something that is not a whole number from 0 up")
      }
      numbers.append(number)
    }
    return numbers
  }

  /// The tensors' bytes must follow each other without a gap or an overlap, up to the file's end.
  func checkTiling(_ entries: [SafetensorsHeader.Entry], dataCount: Int)
    throws(CheckpointFormatError)
  {
    var end = 0
    for entry in entries {
      guard entry.offset == end else {
        let fault = entry.offset < end ? "overlap those before them" : "leave a gap"
        throw .malformed(
          file,
          "the bytes of \(printable(entry.name)) at \(entry.offset) \(fault), which end at \(end)")
      }
      end += entry.byteCount
    }
    guard end == dataCount else {
      throw .malformed(file, "its tensors end at byte \(end) of \(dataCount) bytes of data")
    }
  }
}
