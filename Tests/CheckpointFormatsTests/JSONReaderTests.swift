import Testing

@testable import CheckpointFormats

@Suite struct JSONReaderTests {
  private func read(_ text: String) throws -> JSONValue {
    try JSONReader.read(Array(text.utf8))
  }

  @Test(
    arguments: [
      ("0", .int(0)), (" -12 ", .int(-12)), ("1.5", .number("1.5")), ("1e3", .number("1e3")),
      ("99999999999999999999", .number("99999999999999999999")), ("true", .bool(true)),
      ("false", .bool(false)), ("null", .null), ("[]", .array([])), ("{}", .object([])),
      ("[1, [2]]", .array([.int(1), .array([.int(2)])])),
      (#""\"\\\/\b\f\n\r\t""#, .string("\"\\/\u{8}\u{C}\n\r\t")),
      (#""\u00E4\uD83D\uDE00""#, .string("ä😀")),
      (
        #"{"b":1,"a":{}}"#,
        .object([.init(key: "b", value: .int(1)), .init(key: "a", value: .object([]))])
      ),
    ] as [(String, JSONValue)])
  func values(text: String, value: JSONValue) throws {
    #expect(try read(text) == value)
  }

  @Test(arguments: [
    "", " ", "{", "[", "[1", "[1,]", "{,}", #"{"a"}"#, #"{"a":}"#, #"{"a":1,}"#, "{1:2}", "1 2",
    "01", "-",
    "+1", ".5", "1e", "tru", "nul", "\"", "\"\n\"", #""\x""#, #""\u12"#, #""\u12g4""#, #""\ud800""#,
    #""\udc00""#, #""\ud800\u0041""#, "NaN", "infinity", "0x1", #"{"a":1,"a":1}"#, "// x", "'a'",
  ])
  func errors(text: String) {
    #expect(throws: JSONError.self) { try read(text) }
  }

  @Test func textThatIsNotUTF8() {
    #expect(throws: JSONError.self) { try JSONReader.read([0x22, 0xFF, 0x22]) }
  }

  @Test func nesting() throws {
    _ = try read(String(repeating: "[", count: 30) + String(repeating: "]", count: 30))
    #expect(throws: JSONError.self) { try read(String(repeating: "[", count: 100_000)) }
  }

  @Test(arguments: ["", "plain", "\"\\/", "\u{0}\u{1F}\n\r\t", "ä😀", "\u{7F}"])
  func quoting(text: String) throws {
    #expect(try read(text.jsonQuoted) == .string(text))
  }
}
