import CheckpointFormats
import Testing

@Suite struct SafetensorsIndexTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func writeShard(_ name: String, _ tensors: [String]) throws {
    let declarations = tensors.map {
      TensorDeclaration(name: $0, elementType: .uint8, shape: [2])
    }
    try SafetensorsWriter.write(folder.file(name), tensors: declarations) { _, write in
      try [UInt8](arrayLiteral: 1, 2).withUnsafeBytes(write)
    }
  }

  private func open(_ index: String) throws -> SafetensorsIndex {
    try SafetensorsIndex(try folder.write(index, to: "model.safetensors.index.json"))
  }

  @Test func tensorsOfAllShards() throws {
    try writeShard("1.safetensors", ["a", "b", "not listed"])
    try writeShard("2.safetensors", ["c"])
    let index = try open(
      """
      {"metadata": {"total_size": 6},
       "weight_map": {"c": "2.safetensors", "a": "1.safetensors", "b": "1.safetensors"}}
      """)
    #expect(index.shards == [folder.file("1.safetensors"), folder.file("2.safetensors")])
    #expect(index.tensors.map(\.name) == ["a", "b", "c"])
    #expect(
      index.tensors.map(\.storage.file) == [index.shards[0], index.shards[0], index.shards[1]])
    #expect(try CheckpointFormat(ofFile: index.file) == .safetensorsIndex)
  }

  @Test func shardThatIsMissing() {
    expectFailure(.missing, "index.json", "2.safetensors", "beside the index") {
      _ = try open(#"{"weight_map": {"a": "2.safetensors"}}"#)
    }
  }

  @Test func namesWithLineBreaksStayOnOneLine() {
    expectFailure(.missing, #"a\u{a}\u{2028}\u{202e}b"#) {
      _ = try open(#"{"weight_map": {"a": "a\n\u2028\u202eb"}}"#)
    }
  }

  @Test func tensorThatIsMissing() throws {
    try writeShard("1.safetensors", ["a"])
    expectFailure(.missing, "1.safetensors", "b is not in it") {
      _ = try open(#"{"weight_map": {"a": "1.safetensors", "b": "1.safetensors"}}"#)
    }
  }

  @Test func shardThatIsDamaged() throws {
    _ = try folder.write("<html>", to: "1.safetensors")
    expectFailure(.malformed, "1.safetensors") {
      _ = try open(#"{"weight_map": {"a": "1.safetensors"}}"#)
    }
  }

  @Test(arguments: [
    "", "[]", "{}", #"{"weight_map": 3}"#, #"{"weight_map": {"a": 3}}"#,
    #"{"weight_map": {"a": ""}}"#,
    #"{"weight_map": {"a": "../1.safetensors"}}"#, #"{"weight_map": {"a": "/etc/passwd"}}"#,
    #"{"weight_map": {"a": ".."}}"#, #"{"weight_map": {"a": "x\u0000"}}"#,
  ])
  func badIndices(index: String) {
    expectFailure(.malformed, "index.json") { _ = try open(index) }
  }
}
