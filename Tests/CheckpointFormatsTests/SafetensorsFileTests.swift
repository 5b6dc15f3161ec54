import CheckpointFormats
import Testing

@Suite struct SafetensorsFileTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  /// Opens a file of this header and so many bytes of data.
  private func open(_ header: String, data: Int = 0) throws -> SafetensorsFile {
    try open(
      bytes: littleEndian(header.utf8.count, 8) + Array(header.utf8)
        + [UInt8](repeating: 0, count: data))
  }

  private func open(bytes: [UInt8]) throws -> SafetensorsFile {
    try SafetensorsFile(try folder.write(bytes, to: "x.safetensors"))
  }

  @Test func tensorsAndMetadata() throws {
    let header = """
      {"__metadata__":{"format":"pt","emoji":"\\ud83d\\ude00 \\u00e4"},
       "b":{"dtype":"F32","shape":[2,3],"data_offsets":[2,26]},
       "a":{"dtype":"BF16","shape":[],"data_offsets":[0,2]},
       "e":{"shape":[0,4],"data_offsets":[2,2],"dtype":"I64"}}
      """
    let file = try open(header, data: 26)
    #expect(file.metadata == ["format": "pt", "emoji": "😀 ä"])
    #expect(file.tensors.map(\.name) == ["a", "e", "b"])
    let b = try #require(file.tensors.last)
    #expect(b.elementType == .float32)
    #expect(b.shape == [2, 3] && b.strides == [3, 1] && b.isContiguous)
    #expect(b.storage.offset == 8 + header.utf8.count + 2 && b.storage.count == 24)
  }

  @Test func emptyHeader() throws {
    #expect(try open("{}").tensors.isEmpty)
    #expect(try open("{}   ").tensors.isEmpty)
  }

  @Test(arguments: ElementType.allCases)
  func elementTypes(type: ElementType) throws {
    let size = type.byteCount
    let header = """
      {"t":{"dtype":"\(type.safetensorsName)","shape":[3],"data_offsets":[0,\(3 * size)]}}
      """
    #expect(try open(header, data: 3 * size).tensors.map(\.elementType) == [type])
    #expect(ElementType(torchStorageName: type.torchStorageName) == type)
  }

  @Test(arguments: [
    ("", "JSON"), ("[]", "object"), ("3", "object"), ("{", "JSON"), ("{}x", "JSON"),
    (#"{"t":3}"#, "t does not have"), (#"{"t":{}}"#, "t does not have"),
    (#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}"#, "t does not have"),
    (#"{"t":{"dtype":4,"shape":[1],"data_offsets":[0,4]}}"#, "t has no dtype"),
    (#"{"t":{"dtype":"F32","shape":1,"data_offsets":[0,4]}}"#, "t has no shape"),
    (#"{"t":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, "t has a shape"),
    (#"{"t":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}"#, "t has a shape"),
    (#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[0]}}"#, "t has data_offsets"),
    (#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}}"#, "t has data_offsets"),
    (#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}"#, "t has a data_offsets"),
    (#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, "t has data_offsets"),
    (#"{"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, "t has data_offsets [0, 8]"),
    (#"{"t":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, "t of shape [2]"),
    (#"{"t":{"dtype":"U8","shape":[3],"data_offsets":[0,4]}}"#, "t of shape [3]"),
    (
      #"{"t":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}}"#,
      "t of shape"
    ),
    (
      #"{"t":{"dtype":"F32","shape":[1],"data_offsets":[9223372036854775804,9223372036854775807]}}"#,
      "t has data_offsets"
    ),
    (#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,99999999999999999999]}}"#, "t has a"),
    (
      "{\"t\":{\"dtype\":\"U8\",\"shape\":[4\(String(repeating: ",1", count: 16))],\"data_offsets\":[0,4]}}",
      "t of shape"
    ),
    (#"{"__metadata__":3}"#, "__metadata__"), (#"{"__metadata__":{"a":3}}"#, "__metadata__ has a"),
    (#"{"a":1,"a":2}"#, "twice"), (#"{"t":{"dtype":"F32","dtype":"F32"}}"#, "twice"),
    ("{}", "end at byte 0 of 4"),
    (#"{"t":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#, "end at byte 2 of 4"),
    (#"{"t":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}"#, "leave a gap"),
    (
      """
      {"t":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},
       "u":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}
      """, "overlap"
    ),
  ])
  func badHeaders(header: String, part: String) {
    expectFailure(.malformed, "x.safetensors", part) { _ = try open(header, data: 4) }
  }

  @Test func unknownType() {
    expectFailure(.unsupported, "t is of type F8_E4M3", "BF16") {
      _ = try open(#"{"t":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}"#, data: 4)
    }
  }

  @Test func badSizes() {
    expectFailure(.malformed, "too few") { _ = try open(bytes: [1, 2, 3]) }
    expectFailure(.malformed, "limit") { _ = try open(bytes: littleEndian(100_000_001, 8)) }
    expectFailure(.malformed, "limit") { _ = try open(bytes: [UInt8](repeating: 255, count: 64)) }
    expectFailure(.malformed, "does not fit") {
      _ = try open(bytes: littleEndian(3, 8) + Array("{}".utf8))
    }
  }

  @Test func textThatIsNotUTF8() {
    let header = Array("{\"\u{1}\":{}}".utf8).map { $0 == 1 ? 0xFF : $0 }
    expectFailure(.malformed, "UTF-8") {
      _ = try open(bytes: littleEndian(header.count, 8) + header)
    }
  }

  /// A file that Python's safetensors wrote.
  @Test(arguments: ["mvar-64px", "mvar-256px", "var-128px"])
  func goldenFile(model: String) throws {
    let path = Golden.path("\(model)/io.safetensors")
    #expect(try CheckpointFormat(ofFile: path) == .safetensors)
    let file = try SafetensorsFile(path)
    let map = try MappedFile(path)
    #expect(!file.tensors.isEmpty)
    let end = try #require(file.tensors.last?.contiguousBytes)
    #expect(end.offset + end.count == map.count)
  }

  @Test func everyBeginningThrows() throws {
    let header = #"{"t":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#
    let whole = littleEndian(header.utf8.count, 8) + Array(header.utf8) + [1, 2, 3, 4]
    _ = try open(bytes: whole)
    for count in 0..<whole.count {
      expectFailure(.malformed) { _ = try open(bytes: Array(whole.prefix(count))) }
    }
  }

  @Test func randomDamage() throws {
    let header = """
      {"__metadata__":{"a":"\\u00e4\\n"},"t":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]}}
      """
    let whole = littleEndian(header.utf8.count, 8) + Array(header.utf8) + [1, 2, 3, 4]
    var random = SplitMix(state: 7)
    for _ in 0..<2000 {
      var bytes = whole
      for _ in 0..<Int.random(in: 1...3, using: &random) {
        bytes[Int.random(in: bytes.indices, using: &random)] = .random(in: 0...255, using: &random)
      }
      do { _ = try open(bytes: bytes) } catch { #expect(error is CheckpointFormatError) }
    }
  }
}
