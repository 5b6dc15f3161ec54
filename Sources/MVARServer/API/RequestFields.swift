import Foundation

/// The parameters of a request, whichever way they came; each is taken once.
struct RequestFields {
  enum Value {
    case json(JSONValue)
    /// A part of a form.
    case form([UInt8], isFile: Bool)
  }

  private var values: [String: Value]

  init(_ values: [String: Value]) { self.values = values }

  /// - Throws: ``APIError`` where the bytes are not a JSON object.
  init(json bytes: Data) throws(APIError) {
    // Other encodings than UTF-8, in which nothing can be told by single bytes, have zeros.
    guard !bytes.withUnsafeBytes({ $0.contains(0) }) else { throw Self.noObject("it is not UTF-8") }
    guard !JSONShape.hasTooManyValues(bytes) else {
      throw Self.noObject("it has more than \(JSONShape.valueLimit) values")
    }
    do {
      let object = try JSONDecoder().decode([String: JSONValue].self, from: bytes)
      values = object.filter { $0.value != .null }.mapValues(Value.json)
    } catch {
      throw Self.noObject(Self.reason(error))
    }
  }

  private static func noObject(_ why: String) -> APIError {
    .invalid(
      nil,
      "the body is not a JSON object of parameters (\(why)); send one such as "
        + #"{"class": 207, "n": 1}"#, code: "invalid_json")
  }

  private static func reason(_ error: any Error) -> String {
    guard case DecodingError.dataCorrupted(let context) = error else { return "it is another type" }
    let cause = context.underlyingError.map {
      "\(($0 as NSError).userInfo["NSDebugDescription"] ?? "")"
    }
    return cause.flatMap { $0.isEmpty ? nil : String($0.prefix(120)) } ?? "it cannot be read"
  }

  var names: Set<String> { Set(values.keys) }

  mutating func text(_ name: String, limit: Int) throws(APIError) -> String? {
    guard let value = values.removeValue(forKey: name) else { return nil }
    let text: String
    switch value {
    case .json(.text(let given)): text = given
    case .form(let bytes, isFile: false): text = try Self.text(bytes, name)
    case let other: throw wrong(name, other, "a text")
    }
    guard text.utf8.count <= limit else {
      throw .invalid(name, "\(name) has \(text.utf8.count) bytes; write \(limit) at most")
    }
    return text
  }

  mutating func integer(_ name: String, in range: ClosedRange<Int>) throws(APIError) -> Int? {
    guard let value = values.removeValue(forKey: name) else { return nil }
    let wanted = "a whole number from \(range.lowerBound) to \(range.upperBound)"
    guard let number = try Self.integer(value, name), range.contains(number) else {
      throw wrong(name, value, wanted)
    }
    return number
  }

  private static func integer(_ value: Value, _ name: String) throws(APIError) -> Int? {
    switch value {
    case .json(.integer(let number)): number
    // 2.0 is a whole number in JSON.
    case .json(.number(let number)): Int(exactly: number)
    case .form(let bytes, isFile: false): Int(try text(bytes, name))
    default: nil
    }
  }

  /// Up to 2⁶⁴ − 1; a text of digits does too, for languages whose numbers are shorter.
  mutating func seed(_ name: String) throws(APIError) -> UInt64? {
    guard let value = values.removeValue(forKey: name) else { return nil }
    let seed: UInt64? =
      switch value {
      case .json(.integer(let number)): UInt64(exactly: number)
      case .json(.large(let number)): number
      case .json(.number(let number)): UInt64(exactly: number)
      case .json(.text(let text)): UInt64(text)
      case .form(let bytes, isFile: false): UInt64(try Self.text(bytes, name))
      default: nil
      }
    guard let seed else { throw wrong(name, value, "a whole number from 0 to \(UInt64.max)") }
    return seed
  }

  mutating func number(_ name: String, in range: ClosedRange<Double>) throws(APIError) -> Double? {
    guard let value = values.removeValue(forKey: name) else { return nil }
    let number: Double? =
      switch value {
      case .json(.integer(let number)): Double(number)
      case .json(.number(let number)): number
      case .form(let bytes, isFile: false): Double(try Self.text(bytes, name))
      default: nil
      }
    guard let number, range.contains(number) else {
      throw wrong(name, value, "a number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  mutating func flag(_ name: String) throws(APIError) -> Bool? {
    guard let value = values.removeValue(forKey: name) else { return nil }
    let flag: Bool? =
      switch value {
      case .json(.flag(let flag)): flag
      case .form(let bytes, isFile: false): Bool(try Self.text(bytes, name).lowercased())
      default: nil
      }
    guard let flag else { throw wrong(name, value, "true or false") }
    return flag
  }

  mutating func choice<Choice: RawRepresentable & CaseIterable>(_ name: String, _: Choice.Type)
    throws(APIError) -> Choice? where Choice.RawValue == String
  {
    guard let value = values[name] else { return nil }
    let text = try text(name, limit: 100)!
    guard let choice = Choice(rawValue: text) else {
      let all = Choice.allCases.map(\.rawValue).joined(separator: " or ")
      throw wrong(name, value, all)
    }
    return choice
  }

  /// A class: a number or a text.
  mutating func classText(_ name: String, limit: Int) throws(APIError) -> String? {
    if case .json(.integer(let number)) = values[name] {
      values[name] = nil
      return "\(number)"
    }
    return try text(name, limit: limit)
  }

  /// The bytes of a file: a part of a form, or base64, with or without `data:…;base64,` before it.
  mutating func file(_ names: String...) throws(APIError) -> [UInt8]? {
    guard let name = names.first(where: { values[$0] != nil }),
      let value = values.removeValue(forKey: name)
    else { return nil }
    switch value {
    case .form(let bytes, _): return bytes
    case .json(.text(let text)):
      var digits = text[...]
      if text.hasPrefix("data:") {
        guard let comma = text.firstIndex(of: ","), text[..<comma].hasSuffix(";base64") else {
          throw wrong(name, value, "base64, or a data URL in base64")
        }
        digits = text[text.index(after: comma)...]
      }
      guard let data = Data(base64Encoded: String(digits)) else {
        throw wrong(name, value, "base64, or a data URL in base64")
      }
      return Array(data)
    default: throw wrong(name, value, "a file: base64 in JSON, or a part of a form")
    }
  }

  /// - Parameter ignored: What clients of such APIs may send, and what means nothing here.
  /// - Throws: ``APIError`` if there is anything else.
  func check(known: Set<String>, ignored: Set<String>) throws(APIError) {
    guard let name = names.subtracting(known).subtracting(ignored).min() else { return }
    throw .invalid(
      String(name.prefix(60)),
      "there is no parameter \(quoted(name)); known are \(known.sorted().joined(separator: ", "))",
      code: "unknown_parameter")
  }

  private static func text(_ bytes: [UInt8], _ name: String) throws(APIError) -> String {
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw .invalid(name, "\(name) is not UTF-8; send it as UTF-8")
    }
    return text
  }

  private func wrong(_ name: String, _ value: Value, _ wanted: String) -> APIError {
    let shown =
      switch value {
      case .json(let value): value.shown
      case .form(_, isFile: true): "a file"
      case .form(let bytes, isFile: false):
        quoted(String(decoding: bytes.prefix(80), as: UTF8.self))
      }
    return .invalid(name, "\(name) is \(shown); write \(wanted)")
  }
}
