/// What stands before the numbers of a `.npy` file: their type and the lengths of the axes.
///
/// The format is that of NumPy's `lib/format.py`: a magic text, a version, a length, and a Python
/// dictionary with three keys. The dictionary is parsed as the few literals that it may be made of, and
/// never evaluated.
struct NumPyHeader: Equatable {
  /// Types that pictures, features and statistics have; little-endian.
  enum Element: String, CaseIterable {
    case uint8 = "|u1"
    case int32 = "<i4"
    case int64 = "<i8"
    case float16 = "<f2"
    case float32 = "<f4"
    case float64 = "<f8"

    var byteCount: Int {
      switch self {
      case .uint8: 1
      case .float16: 2
      case .int32, .float32: 4
      case .int64, .float64: 8
      }
    }
  }

  var element: Element
  var shape: [Int]
  /// Whether the first axis is the fastest; of matrices only.
  var isFortran = false

  /// Why a header cannot be read.
  struct Problem: Error, Equatable {
    let text: String
    init(_ text: String) { self.text = text }
  }

  static let magic: [UInt8] = [0x93] + Array("NUMPY".utf8)
  /// NumPy itself refuses longer ones.
  static let lengthLimit = 10_000
  private static let rankLimit = 32

  init(_ element: Element, shape: [Int]) {
    self.element = element
    self.shape = shape
  }

  var elementCount: Int { shape.reduce(1, *) }
  var byteCount: Int { elementCount * element.byteCount }

  /// How many bytes stand before the dictionary, and how many it has, from a file's first 12 bytes.
  static func extent(of start: [UInt8]) throws(Problem) -> (prefix: Int, count: Int) {
    guard start.count >= 12, start.starts(with: magic) else {
      throw Problem("does not begin as an array of NumPy")
    }
    switch start[6] {
    case 1: return (10, Int(start[8]) | Int(start[9]) << 8)
    case 2, 3:
      let count = start[8..<12].reversed().reduce(0) { $0 << 8 | Int($1) }
      return (12, count)
    default: throw Problem("is of version \(start[6]) of NumPy's format, which is not known")
    }
  }

  /// Reads the dictionary.
  init(parsing text: [UInt8]) throws(Problem) {
    var parser = LiteralParser(text)
    var type: String?
    var shape: [Int]?
    var isFortran: Bool?
    for (key, value) in try parser.dictionary() {
      switch (key, value) {
      case ("descr", .text(let text)): type = text
      case ("shape", .numbers(let numbers)): shape = numbers
      case ("fortran_order", .truth(let truth)): isFortran = truth
      default: throw Problem("has an unknown entry \(key) in its header")
      }
    }
    guard let type, let shape, let isFortran else { throw Problem("lacks its type or its shape") }
    guard let element = Element(rawValue: type.replacingEqualOrder()) else {
      throw Problem("holds numbers of type \(type.prefix(16)), which are not read")
    }
    guard shape.count <= Self.rankLimit, Self.fits(shape, element) else {
      throw Problem("has the impossible shape \(shape.prefix(8))")
    }
    guard !isFortran || shape.count <= 2 else {
      throw Problem("is in Fortran's order; save it with numpy.ascontiguousarray")
    }
    self.init(element, shape: shape)
    self.isFortran = isFortran && shape.count == 2
  }

  private static func fits(_ shape: [Int], _ element: Element) -> Bool {
    var bytes = element.byteCount
    for length in shape {
      let (product, overflow) = bytes.multipliedReportingOverflow(by: length)
      if overflow || length < 0 { return false }
      bytes = product
    }
    return true
  }

  /// The header as NumPy writes it, in version 1: the numbers after it begin at a multiple of 64 bytes.
  var bytes: [UInt8] {
    let lengths = shape.map { "\($0)" }.joined(separator: ", ")
    let tuple = shape.count == 1 ? "(\(lengths),)" : "(\(lengths))"
    var text = "{'descr': '\(element.rawValue)', 'fortran_order': False, 'shape': \(tuple), }"
    let spaces = (64 - (10 + text.utf8.count + 1) % 64) % 64
    text += String(repeating: " ", count: spaces) + "\n"
    let count = text.utf8.count
    return Self.magic + [1, 0, UInt8(count & 255), UInt8(count >> 8)] + Array(text.utf8)
  }
}

extension String {
  /// For single bytes NumPy may write any order.
  fileprivate func replacingEqualOrder() -> String {
    self == "<u1" || self == "=u1" || self == ">u1" ? "|u1" : self
  }
}

/// Reads a Python dictionary of texts, truths and tuples of whole numbers.
private struct LiteralParser {
  enum Value {
    case text(String)
    case truth(Bool)
    case numbers([Int])
  }

  private let bytes: [UInt8]
  private var position = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  mutating func dictionary() throws(NumPyHeader.Problem) -> [(key: String, value: Value)] {
    var entries: [(key: String, value: Value)] = []
    try expect("{")
    while !found("}") {
      let key = try text()
      try expect(":")
      entries.append((key, try value()))
      if !found(",") {
        try expect("}")
        break
      }
    }
    skipSpace()
    guard position == bytes.count else { throw damaged }
    return entries
  }

  private mutating func value() throws(NumPyHeader.Problem) -> Value {
    skipSpace()
    guard position < bytes.count else { throw damaged }
    switch bytes[position] {
    case UInt8(ascii: "'"), UInt8(ascii: "\""): return .text(try text())
    case UInt8(ascii: "("): return .numbers(try numbers())
    case UInt8(ascii: "T"): return try word("True", .truth(true))
    case UInt8(ascii: "F"): return try word("False", .truth(false))
    case UInt8(ascii: "["): throw NumPyHeader.Problem("holds records, not numbers")
    default: throw damaged
    }
  }

  private mutating func numbers() throws(NumPyHeader.Problem) -> [Int] {
    var numbers: [Int] = []
    try expect("(")
    while !found(")") {
      numbers.append(try number())
      if !found(",") {
        try expect(")")
        break
      }
    }
    return numbers
  }

  private mutating func number() throws(NumPyHeader.Problem) -> Int {
    skipSpace()
    let start = position
    while position < bytes.count, (0x30...0x39).contains(bytes[position]) { position += 1 }
    let digits = String(decoding: bytes[start..<position], as: UTF8.self)
    // Python 2 wrote an L behind long ones.
    if position < bytes.count, bytes[position] == UInt8(ascii: "L") { position += 1 }
    guard let number = Int(digits) else { throw damaged }
    return number
  }

  private mutating func text() throws(NumPyHeader.Problem) -> String {
    skipSpace()
    guard position < bytes.count, [0x22, 0x27].contains(bytes[position]) else { throw damaged }
    let quote = bytes[position]
    guard let end = bytes[(position + 1)...].firstIndex(of: quote) else { throw damaged }
    defer { position = end + 1 }
    return String(decoding: bytes[(position + 1)..<end], as: UTF8.self)
  }

  private mutating func word(_ word: String, _ value: Value) throws(NumPyHeader.Problem) -> Value {
    guard bytes[position...].starts(with: word.utf8) else { throw damaged }
    position += word.utf8.count
    return value
  }

  private mutating func expect(_ mark: Unicode.Scalar) throws(NumPyHeader.Problem) {
    guard found(mark) else { throw damaged }
  }

  private mutating func found(_ mark: Unicode.Scalar) -> Bool {
    skipSpace()
    guard position < bytes.count, bytes[position] == UInt8(ascii: mark) else { return false }
    position += 1
    return true
  }

  private mutating func skipSpace() {
    while position < bytes.count, [0x20, 0x09, 0x0A, 0x0D].contains(bytes[position]) {
      position += 1
    }
  }

  private var damaged: NumPyHeader.Problem { .init("has a header that cannot be read") }
}
