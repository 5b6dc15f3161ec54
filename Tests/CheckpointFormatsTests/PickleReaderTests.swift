import CheckpointFormats
import Foundation
import Testing

@Suite struct PickleReaderTests {
  private func read(_ bytes: [UInt8]) throws -> PickleValue {
    try PickleReader(file: "x.pth").read(bytes)
  }

  /// The value that instructions leave, given as text and with protocol mark and stop added.
  private func read(_ instructions: String) throws -> PickleValue {
    try read([0x80, 2] + Array(instructions.utf8) + Array(".".utf8))
  }

  @Test(
    arguments: [
      ([0x4B, 200], 200), ([0x4D, 1, 2], 513), ([0x4A, 0xFE, 0xFF, 0xFF, 0xFF], -2),
      ([0x8A, 0], 0), ([0x8A, 1, 0x80], -128), ([0x8A, 2, 0x80, 0], 128),
      ([0x8A, 8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F], Int.max),
      ([0x8B, 1, 0, 0, 0, 5], 5),
    ] as [([UInt8], Int)])
  func wholeNumbers(code: [UInt8], value: Int) throws {
    #expect(try read([0x80, 2] + code + Array(".".utf8)).int == value)
  }

  @Test func numberTooLargeForSixtyFourBitsIsOpaque() throws {
    guard case .opaque = try read([0x80, 2, 0x8A, 9] + [UInt8](repeating: 1, count: 9) + [0x2E])
    else {
      Issue.record("not opaque")
      return
    }
  }

  @Test func refusesMoreValuesThanMemoryHasRoomFor() {
    let tuples = [UInt8](repeating: 0x29, count: 4_000_001)
    let error = #expect(throws: CheckpointFormatError.self) {
      try read([0x80, 2] + tuples + [0x2E])
    }
    #expect(error.map { "\($0)".contains("more than 4000000 values") } == true)
  }

  @Test func otherAtoms() throws {
    guard case .double(1.5) = try read([0x80, 2, 0x47, 0x3F, 0xF8, 0, 0, 0, 0, 0, 0, 0x2E]),
      case .bool(true) = try read([0x80, 2, 0x88, 0x2E]),
      case .bool(false) = try read([0x80, 2, 0x89, 0x2E]), case .none = try read("N"),
      case .bytes([1, 2]) = try read([0x80, 4, 0x43, 2, 1, 2, 0x2E])
    else {
      Issue.record("an atom has another value")
      return
    }
    #expect(try read([0x80, 4, 0x8C, 2, 0xC3, 0xA4, 0x2E]).string == "ä")
  }

  @Test func containersAreFilledAfterTheyAreShared() throws {
    // A list is stored and dropped, filled through the memo and dropped, and recalled.
    let value = try read("]q\u{0}0" + "h\u{0}Na0" + "h\u{0}")
    guard case .list(let items) = value else {
      Issue.record("not a list")
      return
    }
    #expect(items.count == 1)
  }

  @Test func lastOfEqualKeysCountsInTheFirstPlace() throws {
    let value = try read(
      Pickle.dictionary([("a", .int(1)), ("b", .int(2)), ("a", .int(3))]).program)
    guard case .dictionary(let entries) = value else {
      Issue.record("not a dictionary")
      return
    }
    #expect(entries.map(\.key.string) == ["a", "b"])
    #expect(entries.map(\.value.int) == [3, 2])
  }

  @Test func orderedDictionaryFromPairsAndWithState() throws {
    let pairs = Pickle.list([.tuple([.string("k"), .int(7)])])
    let made = Pickle.call("collections", "OrderedDict", [pairs])
    let state = Pickle.dictionary([("_metadata", .ordered([]))])
    let value = try read(Pickle.raw(made.code + state.code + Array("b".utf8)).program)
    #expect(value["k"]?.int == 7)
    #expect(value["_metadata"] == nil)
  }

  @Test func dictionaryMadeFromAnotherIsItsOwn() throws {
    // An inner dictionary, memoised; an ordered copy of it, which then gets a key.
    let inner = Pickle.dictionary([("a", .int(1))]).code + Array("q\u{0}".utf8)
    let copy =
      Array("ccollections\nOrderedDict\n".utf8) + Array("h\u{0}".utf8) + [0x85]
      + Array("R".utf8) + Pickle.string("b").code + Pickle.int(2).code + Array("s".utf8)
    let value = try read([0x80, 2] + inner + copy + [0x86, 0x2E])
    guard case .tuple(let items) = value else {
      Issue.record("not a tuple")
      return
    }
    #expect(items[0]["a"]?.int == 1 && items[0]["b"]?.int == nil)
    #expect(items[1]["a"]?.int == 1 && items[1]["b"]?.int == 2)
  }

  @Test func protocolFourNames() throws {
    let names = Pickle.string("collections").code + Pickle.string("OrderedDict").code
    let value = try read([0x80, 4] + names + [0x93] + Array(")R.".utf8))
    guard case .dictionary(let entries) = value else {
      Issue.record("not a dictionary")
      return
    }
    #expect(entries.isEmpty)
  }

  @Test(arguments: [
    ("builtins", "set"), ("__builtin__", "frozenset"),
  ])
  func sets(module: String, name: String) throws {
    guard
      case .set(let items) = try read(
        Pickle.call(module, name, [.list([.int(1), .int(2)])]).program)
    else {
      Issue.record("not a set")
      return
    }
    #expect(items.map(\.int) == [1, 2])
  }

  @Test(arguments: [
    ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"), ("numpy", "dtype"),
    ("argparse", "Namespace"), ("torch", "device"),
  ])
  func harmlessValuesAreOpaque(module: String, name: String) throws {
    let made = Pickle.call(module, name, [.string("f8")])
    let value = try read(Pickle.raw(made.code + Pickle.tuple([]).code + Array("b".utf8)).program)
    guard case .opaque(let type) = value else {
      Issue.record("not opaque")
      return
    }
    #expect(type == "\(module).\(name)")
  }

  @Test func tensorsOfAllKinds() throws {
    let plain = Pickle.tensor(
      type: "HalfStorage", key: "3", count: 12, offset: 2, shape: [5], strides: [2])
    let parameter = Pickle.call("torch._utils", "_rebuild_parameter", [plain, .none, .none])
    let subclass = Pickle.call(
      "torch._tensor", "_rebuild_from_type_v2",
      [
        .raw(Array("ctorch._utils\n_rebuild_parameter\n".utf8)),
        .raw(Array("ctorch.nn.parameter\nParameter\n".utf8)), .tuple([plain, .none, .none]),
        .dictionary([]),
      ])
    for pickle in [plain, parameter, subclass] {
      let tensor = try #require(try read(pickle.program).tensor)
      #expect(tensor.storageKey == "3")
      #expect(tensor.storageByteCount == 24)
      #expect(tensor.elementType == .float16)
      #expect(tensor.storageOffset == 2)
      #expect(tensor.shape == [5])
      #expect(tensor.strides == [2])
    }
  }

  @Test func tensorInUntypedStorage() throws {
    let arguments: [Pickle] = [
      .storage(type: "UntypedStorage", key: "0", count: 16), .int(0), .tuple([.int(8)]),
      .tuple([.int(1)]), .none, .none, .raw(Array("ctorch\nint16\n".utf8)),
    ]
    let pickle = Pickle.call("torch._utils", "_rebuild_tensor_v3", arguments)
    let tensor = try #require(try read(pickle.program).tensor)
    #expect(tensor.elementType == .int16)
    #expect(tensor.storageByteCount == 16)
  }
}

@Suite struct PickleRefusalTests {
  private func read(_ bytes: [UInt8]) throws {
    _ = try PickleReader(file: "x.pth").read(bytes)
  }

  @Test func callOfTheSystemIsRefusedAndNotRun() throws {
    let folder = try TemporaryFolder()
    let trace = folder.file("trace")
    let attack = Pickle.call("os", "system", [.string("touch \(trace)")])
    let error = expectFailure(.refused) { try read(attack.program) }
    #expect(
      error?.description
        == "refused: the pickle in x.pth calls os.system; only tensor dictionaries are read")
    #expect(!FileManager.default.fileExists(atPath: trace))
  }

  @Test(arguments: [
    ("posix", "system"), ("builtins", "eval"), ("builtins", "getattr"), ("torch", "load"),
    ("torch.hub", "load"), ("torch", "ComplexFloatStorage.__init__"), ("collections", "deque"),
    ("numpy", "load"), ("", ""), ("a\u{7}b", "c"),
  ])
  func everyOtherNameIsRefused(module: String, name: String) {
    expectFailure(.refused) { try read(Pickle.call(module, name, []).program) }
    let named = Pickle.string(module).code + Pickle.string(name).code + [0x93]
    expectFailure(.refused) { try read([0x80, 4] + named + Array(".".utf8)) }
    let instance = Array("(i\(module)\n\(name)\n.".utf8)
    expectFailure(.refused) { try read([0x80, 2] + instance) }
  }

  @Test func refusedBeforeAnythingThatFollows() {
    // The rest is not even a pickle.
    expectFailure(.refused, "os.system") { try read([0x80, 2] + Array("cos\nsystem\n\u{1}".utf8)) }
  }
}

@Suite struct MalformedPickleTests {
  private func read(_ bytes: [UInt8]) throws {
    _ = try PickleReader(file: "x.pth").read(bytes)
  }

  private func expectMalformed(
    _ instructions: [UInt8], at location: SourceLocation = #_sourceLocation
  ) {
    expectFailure(.malformed, "x.pth", at: location) {
      try read([0x80, 2] + instructions + [0x2E])
    }
  }

  @Test func everyBeginningOfAPickleThrows() {
    let whole = Pickle.ordered([
      ("a", .tensor(count: 4, shape: [2, 2], strides: [2, 1])), ("b", .list([.int(1), .none])),
    ]).program
    for count in 0..<whole.count {
      expectFailure(.malformed, "x.pth") { try read(Array(whole.prefix(count))) }
    }
  }

  @Test(arguments: [
    ".", "t.", "\u{85}", "R", "NR", "NNR", "N)R", "Q", "NQ", ")Q", "b", "NNb", "a", "]a", "(Na",
    "}Na",
    "NNNs", "}(Nu", "h\u{5}", "j\u{1}\u{0}\u{0}\u{0}", "q\u{1}", "(q\u{1}", "0", "1", "2", "(0",
  ])
  func stackErrors(instructions: String) {
    expectMalformed(Array(instructions.unicodeScalars.map { UInt8($0.value) }))
  }

  @Test(arguments: [0x8D, 0x8E, 0x96, 0x95] as [UInt8])
  func hugeLengths(opcode: UInt8) {
    expectMalformed([opcode] + [UInt8](repeating: 0xFF, count: 8))
    expectMalformed([opcode] + [UInt8](repeating: 0xFF, count: 7) + [0x7F])
  }

  @Test(arguments: [0x54, 0x58, 0x42, 0x8B] as [UInt8])
  func largeLengths(opcode: UInt8) {
    expectMalformed([opcode] + [UInt8](repeating: 0xFF, count: 4))
  }

  @Test(arguments: [0, 1, 6, 255] as [UInt8])
  func protocols(version: UInt8) {
    expectFailure(.malformed, "protocol \(version)") { try read([0x80, version, 0x4E, 0x2E]) }
  }

  @Test func textThatIsNotUTF8() {
    expectMalformed([0x8C, 1, 0xFF])
  }

  @Test func listInItself() {
    expectMalformed(Array("]q\u{0}h\u{0}a".utf8))
  }

  @Test func deepNesting() {
    let lists = [UInt8](repeating: UInt8(ascii: "]"), count: 100_000)
    expectMalformed(lists + [UInt8](repeating: UInt8(ascii: "a"), count: lists.count - 1))
    let tuples = [UInt8](repeating: 0x85, count: 100_000)
    expectMalformed(Array("N".utf8) + tuples)
  }

  /// Lists linked through the memo: each is shallow when it is made, and the chain is long.
  @Test func deepChainThroughTheMemo() {
    var code: [UInt8] = []
    for index in 0..<50_000 {
      code += Array("]r".utf8) + littleEndian(index, 4)
      if index > 0 { code += Array("j".utf8) + littleEndian(index - 1, 4) + Array("a".utf8) }
    }
    expectMalformed(code)
  }

  /// One list of 20,000 values, copied at nine bytes a time: without a limit each round would take half a megabyte.
  @Test(
    arguments: [
      (
        "builtins", "set", Pickle.list([Pickle](repeating: .none, count: 20_000)),
        [0x28, 0x4E, 0x90]
      ),
      ("torch", "Size", Pickle.list([Pickle](repeating: .none, count: 20_000)), []),
      ("_codecs", "encode", Pickle.string(String(repeating: "x", count: 20_000)), []),
    ] as [(String, String, Pickle, [UInt8])])
  func copiesOverAndOver(module: String, name: String, value: Pickle, then: [UInt8]) {
    var code = Array("c\(module)\n\(name)\nq\u{0}0".utf8) + value.code + Array("q\u{1}0".utf8)
    let round = Array("h\u{0}h\u{1}".utf8) + [0x85, 0x52] + then
    for _ in 0..<100 { code += round }
    expectFailure(.malformed, "over and over") { try read([0x80, 2] + code + [0x2E]) }
  }

  @Test func tensorOfManyDimensions() {
    let ones = [Int](repeating: 1, count: 17)
    let tensor = Pickle.tensor(count: 1, shape: ones, strides: ones)
    expectFailure(.malformed, "17 dimensions") { try read(tensor.program) }
  }

  @Test func tensorsThatAreNone() {
    let storage = Pickle.storage(type: "FloatStorage", key: "0", count: 4)
    let shapes: [[Pickle]] = [
      [], [storage], [.int(0), .int(0), .tuple([]), .tuple([])],
      [storage, .string(""), .tuple([]), .tuple([])], [storage, .int(0), .int(1), .tuple([])],
      [storage, .int(0), .tuple([.none]), .tuple([])],
    ]
    for arguments in shapes {
      expectMalformed(Pickle.call("torch._utils", "_rebuild_tensor_v2", arguments).code)
    }
    expectMalformed(Pickle.storage(type: "FloatStorage", key: "0", count: -1).code)
    expectMalformed(Pickle.tensor(count: Int.max, shape: [1], strides: [1]).code)
    expectMalformed(Pickle.call("torch", "FloatStorage", []).code)
  }

  @Test func ruleOfARule() {
    let rule = Pickle.raw(Array("ctorch._tensor\n_rebuild_from_type_v2\n".utf8))
    let call = Pickle.call("torch._tensor", "_rebuild_from_type_v2", [rule, .none, .tuple([rule])])
    expectMalformed(call.code)
  }
}
