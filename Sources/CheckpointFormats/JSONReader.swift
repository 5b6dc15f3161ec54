/// A value of a JSON text; objects keep their order.
enum JSONValue: Equatable {
  struct Member: Equatable {
    let key: String
    let value: JSONValue
  }

  case object([Member])
  case array([JSONValue])
  case string(String)
  case int(Int)
  /// A number with a fraction or an exponent, or too large for 64 bits.
  case number(String)
  case bool(Bool)
  case null

  subscript(key: String) -> JSONValue? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.key == key }?.value
  }
}

/// Why a text is not JSON.
struct JSONError: Error {
  let problem: String
  let position: Int
}

/// Reads strict JSON, as safetensors demands: no duplicate keys, bounded nesting.
///
/// Foundation's reader keeps the last of two equal keys and says nothing, and would be all that is needed of Foundation.
struct JSONReader {
  private let bytes: [UInt8]
  private var position = 0
  private var depth = 0

  private static let depthLimit = 32

  private init(_ bytes: [UInt8]) {
    self.bytes = bytes
  }

  /// The value of a whole text.
  static func read(_ bytes: [UInt8]) throws(JSONError) -> JSONValue {
    var reader = JSONReader(bytes)
    let value = try reader.value()
    reader.skipSpace()
    guard reader.position == bytes.count else { throw reader.error("something follows the value") }
    return value
  }

  private mutating func value() throws(JSONError) -> JSONValue {
    skipSpace()
    switch peek {
    case UInt8(ascii: "{"):
      return .object(try nested { (reader) throws(JSONError) in try reader.members() })
    case UInt8(ascii: "["):
      return .array(try nested { (reader) throws(JSONError) in try reader.elements() })
    case UInt8(ascii: "\""): return .string(try string())
    case .some(UInt8(ascii: "0")...UInt8(ascii: "9")), UInt8(ascii: "-"): return try number()
    case UInt8(ascii: "t"): return try word("true", .bool(true))
    case UInt8(ascii: "f"): return try word("false", .bool(false))
    case UInt8(ascii: "n"): return try word("null", .null)
    default: throw error("no value")
    }
  }
}

/// Objects and arrays.
extension JSONReader {
  private mutating func nested<Result>(
    _ body: (inout JSONReader) throws(JSONError) -> Result
  ) throws(JSONError) -> Result {
    guard depth < Self.depthLimit else { throw error("nested too deeply") }
    depth += 1
    position += 1
    let result = try body(&self)
    depth -= 1
    return result
  }

  private mutating func members() throws(JSONError) -> [JSONValue.Member] {
    var members: [JSONValue.Member] = []
    var keys: Set<String> = []
    if found("}") { return members }
    repeat {
      skipSpace()
      let key = try string()
      guard keys.insert(key).inserted else {
        throw error("the key \"\(printable(key))\" is there twice")
      }
      guard found(":") else { throw error("no colon") }
      members.append(.init(key: key, value: try value()))
    } while found(",")
    guard found("}") else { throw error("an object is not closed") }
    return members
  }

  private mutating func elements() throws(JSONError) -> [JSONValue] {
    var elements: [JSONValue] = []
    if found("]") { return elements }
    repeat {
      elements.append(try value())
    } while found(",")
    guard found("]") else { throw error("an array is not closed") }
    return elements
  }
}

/// Numbers and words.
extension JSONReader {
  private mutating func number() throws(JSONError) -> JSONValue {
    let start = position
    while let byte = peek, Self.numberBytes.contains(byte) { position += 1 }
    let text = String(decoding: bytes[start..<position], as: UTF8.self)
    let digits = text.hasPrefix("-") ? text.dropFirst() : text[...]
    guard digits.first?.isNumber == true, Double(text) != nil,
      digits == "0" || !Self.hasLeadingZero(digits)
    else {
      throw error("\(printable(text)) is not a number")
    }
    return Int(text).map(JSONValue.int) ?? .number(text)
  }

  private static let numberBytes = Set("0123456789+-.eE".utf8)

  private static func hasLeadingZero(_ digits: Substring) -> Bool {
    digits.first == "0" && digits.dropFirst().first?.isNumber == true
  }

  private mutating func word(_ word: String, _ value: JSONValue) throws(JSONError) -> JSONValue {
    guard bytes[position...].starts(with: word.utf8) else { throw error("no value") }
    position += word.utf8.count
    return value
  }
}

/// Strings.
extension JSONReader {
  private mutating func string() throws(JSONError) -> String {
    guard peek == UInt8(ascii: "\"") else { throw error("no string") }
    position += 1
    var text: [UInt8] = []
    while let byte = peek {
      position += 1
      switch byte {
      case UInt8(ascii: "\""):
        guard let string = String(validating: text, as: UTF8.self) else {
          throw error("a string is not UTF-8")
        }
        return string
      case UInt8(ascii: "\\"): text += String(try escaped()).utf8
      case 0..<0x20: throw error("a string has a control character")
      default: text.append(byte)
      }
    }
    throw error("a string is not closed")
  }

  private mutating func escaped() throws(JSONError) -> Unicode.Scalar {
    guard let byte = peek else { throw error("a string is not closed") }
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(byte)
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "f"): return "\u{C}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"): return try unicodeScalar()
    default: throw error("an unknown escape")
    }
  }

  /// `\uXXXX`, or two of them for a scalar outside the basic plane.
  private mutating func unicodeScalar() throws(JSONError) -> Unicode.Scalar {
    let unit = try hexUnit()
    if let scalar = Unicode.Scalar(unit) { return scalar }
    guard unit < 0xDC00, bytes[position...].starts(with: "\\u".utf8) else {
      throw error("half a surrogate pair")
    }
    position += 2
    let low = try hexUnit()
    guard (0xDC00...0xDFFF).contains(low) else { throw error("half a surrogate pair") }
    return Unicode.Scalar(0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00))!
  }

  private mutating func hexUnit() throws(JSONError) -> UInt32 {
    let digits = bytes[position...].prefix(4)
    guard digits.count == 4, digits.allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }) else {
      throw error("an unknown escape")
    }
    position += 4
    return digits.reduce(0) { $0 << 4 | UInt32(Character(Unicode.Scalar($1)).hexDigitValue!) }
  }
}

/// Bytes.
extension JSONReader {
  private var peek: UInt8? { position < bytes.count ? bytes[position] : nil }

  private mutating func skipSpace() {
    while let byte = peek, byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D {
      position += 1
    }
  }

  /// Passes over the mark if it comes next.
  private mutating func found(_ mark: Unicode.Scalar) -> Bool {
    skipSpace()
    guard peek == UInt8(ascii: mark) else { return false }
    position += 1
    return true
  }

  private func error(_ problem: String) -> JSONError {
    JSONError(problem: problem, position: position)
  }
}
