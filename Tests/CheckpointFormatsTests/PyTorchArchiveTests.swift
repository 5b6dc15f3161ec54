import CheckpointFormats
import Testing

@Suite struct GoldenArchiveTests {
  /// Key, element type and shape of every tensor, as PyTorch lists them.
  static let mvar = """
    pos_start bfloat16 [1, 1, 128]
    pos_1LC bfloat16 [1, 30, 128]
    lvl_1L int64 [1, 30]
    attn_bias_for_masking float32 [1, 1, 30, 30]
    word_embed.weight bfloat16 [128, 16]
    word_embed.bias bfloat16 [128]
    class_emb.weight bfloat16 [6, 128]
    lvl_embed.weight bfloat16 [4, 128]
    blocks.0.attn.q_bias bfloat16 [128]
    blocks.0.attn.v_bias bfloat16 [128]
    blocks.0.attn.zero_k_bias bfloat16 [128]
    blocks.0.attn.patch_nums int32 [4]
    blocks.0.attn.mat_qkv.weight bfloat16 [384, 128]
    blocks.0.attn.proj.weight bfloat16 [128, 128]
    blocks.0.attn.proj.bias bfloat16 [128]
    blocks.0.mamba.dt_bias bfloat16 [4]
    blocks.0.mamba.A_log bfloat16 [4]
    blocks.0.mamba.D bfloat16 [4]
    blocks.0.mamba.in_proj.weight bfloat16 [644, 128]
    blocks.0.mamba.conv1d.weight bfloat16 [384, 1, 4]
    blocks.0.mamba.conv1d.bias bfloat16 [384]
    blocks.0.mamba.norm.weight bfloat16 [256]
    blocks.0.mamba.out_proj.weight bfloat16 [128, 256]
    blocks.0.ffn.fc1.weight bfloat16 [512, 128]
    blocks.0.ffn.fc1.bias bfloat16 [512]
    blocks.0.ffn.fc2.weight bfloat16 [128, 512]
    blocks.0.ffn.fc2.bias bfloat16 [128]
    blocks.0.ada_lin.1.weight bfloat16 [1152, 128]
    blocks.0.ada_lin.1.bias bfloat16 [1152]
    blocks.1.attn.q_bias bfloat16 [128]
    blocks.1.attn.v_bias bfloat16 [128]
    blocks.1.attn.zero_k_bias bfloat16 [128]
    blocks.1.attn.patch_nums int32 [4]
    blocks.1.attn.mat_qkv.weight bfloat16 [384, 128]
    blocks.1.attn.proj.weight bfloat16 [128, 128]
    blocks.1.attn.proj.bias bfloat16 [128]
    blocks.1.mamba.dt_bias bfloat16 [4]
    blocks.1.mamba.A_log bfloat16 [4]
    blocks.1.mamba.D bfloat16 [4]
    blocks.1.mamba.in_proj.weight bfloat16 [644, 128]
    blocks.1.mamba.conv1d.weight bfloat16 [384, 1, 4]
    blocks.1.mamba.conv1d.bias bfloat16 [384]
    blocks.1.mamba.norm.weight bfloat16 [256]
    blocks.1.mamba.out_proj.weight bfloat16 [128, 256]
    blocks.1.ffn.fc1.weight bfloat16 [512, 128]
    blocks.1.ffn.fc1.bias bfloat16 [512]
    blocks.1.ffn.fc2.weight bfloat16 [128, 512]
    blocks.1.ffn.fc2.bias bfloat16 [128]
    blocks.1.ada_lin.1.weight bfloat16 [1152, 128]
    blocks.1.ada_lin.1.bias bfloat16 [1152]
    head_nm.ada_lin.1.weight bfloat16 [256, 128]
    head_nm.ada_lin.1.bias bfloat16 [256]
    head.weight bfloat16 [512, 128]
    head.bias bfloat16 [512]
    """

  @Test func everyTensorOfTheSmallModel() throws {
    let archive = try Golden.archive("mvar-64px/mvar.pth")
    let lines = archive.tensors.map { "\($0.name) \($0.elementType) \($0.shape)" }
    #expect(lines == Self.mvar.split(separator: "\n").map(String.init))
    #expect(archive.tensors.allSatisfy { $0.isContiguous && $0.storageOffset == 0 })
    #expect(archive.groups == [""])
  }

  @Test func bytesAreWhereTheTensorsSay() throws {
    let archive = try Golden.archive("mvar-64px/mvar.pth")
    let file = try MappedFile(archive.file)
    let tensor = try #require(archive.tensors.first { $0.name == "blocks.1.attn.patch_nums" })
    let place = try #require(tensor.contiguousBytes)
    let bytes = try file.bytes(at: place.offset, count: place.count)
    #expect(
      Array(bytes.bindMemory(to: Int32.self)).map(Int32.init(littleEndian:)) == [1, 4, 9, 16])
    #expect(place.offset.isMultiple(of: 64))
  }

  @Test func formatIsSeen() throws {
    #expect(try CheckpointFormat(ofFile: Golden.path("mvar-64px/mvar.pth")) == .pyTorch)
  }

  @Test(arguments: [
    ("var-128px/var.pth", 38), ("mvar-256px/mvar.pth", 56), ("tokenizer.pth", 324),
  ])
  func otherGoldens(name: String, count: Int) throws {
    let archive = try Golden.archive(name)
    #expect(archive.tensors.count == count)
    #expect(Set(archive.tensors.map(\.name)).count == count)
  }
}

@Suite struct PyTorchArchiveTests {
  private let weight = Pickle.tensor(count: 6, shape: [2, 3], strides: [3, 1])

  private func open(_ pickle: Pickle, storages: [String: Int] = ["0": 24]) throws -> PyTorchArchive
  {
    try PyTorchArchive(MemoryArchive(pickle.program, storages: storages), file: "x.pth")
  }

  @Test func nestedDictionariesBecomeDottedKeysAndGroups() throws {
    let pickle = Pickle.dictionary([
      ("epoch", .int(3)),
      (
        "trainer",
        .dictionary([
          ("vae_local", .ordered([("a.b", weight)])), ("mvar_wo_ddp", .ordered([("w", weight)])),
          ("state", .dictionary([("list", .list([.none, weight]))])), ("empty", .dictionary([])),
        ])
      ),
    ])
    let archive = try open(pickle)
    #expect(
      archive.tensors.map(\.name) == [
        "trainer.vae_local.a.b", "trainer.mvar_wo_ddp.w", "trainer.state.list.1",
      ])
    #expect(
      archive.groups == [
        "", "trainer", "trainer.vae_local", "trainer.mvar_wo_ddp", "trainer.state",
      ])
    #expect(try archive.tensors(in: "trainer.vae_local").map(\.name) == ["a.b"])
    #expect(try archive.tensors(in: "trainer").count == 3)
    #expect(try archive.tensors(in: "").count == 3)
    #expect(archive.root["epoch"]?.int == 3)
    expectFailure(.missing, "trainer.nothing", "trainer.vae_local") {
      _ = try archive.tensors(in: "trainer.nothing")
    }
  }

  /// The shape of the file that training writes: models, an optimiser's state, counters and the arguments.
  @Test func trainingCheckpoint() throws {
    let half = Pickle.tensor(type: "BFloat16Storage", key: "1", count: 4, shape: [4], strides: [1])
    let moments = Pickle.dictionary([("step", .int(9)), ("exp_avg", weight)])
    let group = Pickle.dictionary([
      ("lr", .double(1e-4)), ("betas", .tuple([.double(0.9), .double(0.95)])),
      ("foreach", .none), ("params", .list([.int(0), .int(1)])),
    ])
    let optimiser = Pickle.dictionary([
      ("state", .raw(Array("}(".utf8) + Pickle.int(0).code + moments.code + Array("u".utf8))),
      ("param_groups", .list([group])),
    ])
    let archive = try open(
      .dictionary([
        ("epoch", .int(12)), ("iter", .int(0)),
        (
          "trainer",
          .dictionary([
            ("mvar_wo_ddp", .ordered([("head.weight", half)])),
            ("vae_local", .ordered([("encoder.w", weight)])), ("optimizer", optimiser),
            ("config", .dictionary([("dbg", .none), ("name", .string("d16"))])),
          ])
        ),
        ("args", .ordered([("device", .call("torch", "device", [.string("cuda")]))])),
        ("namespace", .call("argparse", "Namespace", [])),
      ]), storages: ["0": 24, "1": 8])
    #expect(
      archive.tensors.map(\.name) == [
        "trainer.mvar_wo_ddp.head.weight", "trainer.vae_local.encoder.w",
        "trainer.optimizer.state.0.exp_avg",
      ])
    #expect(archive.tensors.map(\.elementType) == [.bfloat16, .float32, .float32])
    #expect(try archive.tensors(in: "trainer.mvar_wo_ddp").map(\.name) == ["head.weight"])
    #expect(archive.root["trainer"]?["config"]?["name"]?.string == "d16")
  }

  /// The dot and the accent after it are one character, which must not hide the tensor from its group.
  @Test func groupsGoByBytes() throws {
    let archive = try open(.dictionary([("a", .dictionary([("\u{301}b", weight)]))]))
    #expect(try archive.tensors(in: "a").map(\.name) == ["\u{301}b"])
  }

  /// Two dictionaries may come to the same path, and a key with a dot may look as if it lay in one.
  @Test func groupsOfOnePathAreOne() throws {
    let archive = try open(
      .dictionary([
        ("a", .dictionary([("b", .dictionary([("x", weight)]))])),
        ("a.b", .dictionary([("y", weight)])), ("a.c", weight),
      ]))
    #expect(archive.groups == ["", "a", "a.b", "a.b"])
    #expect(try archive.tensors(in: "a.b").map(\.name) == ["x", "y"])
    #expect(try archive.tensors(in: "a").map(\.name) == ["b.x"])
  }

  /// Looking for each group's tensors among all others would take hours.
  @Test func aHundredThousandGroups() throws {
    let count = 100_000
    // All hold the first one's tensor, which the pickle remembers.
    let first = Pickle.raw(weight.code + Array("q\0".utf8))
    let archive = try open(
      .dictionary(
        (0..<count).map { ("\($0)", .dictionary([("w", $0 == 0 ? first : .raw([0x68, 0]))])) }))
    #expect(archive.tensors.count == count && archive.groups.count == count + 1)
    for group in archive.groups.dropFirst() {
      #expect(try archive.tensors(in: group).map(\.name) == ["w"])
    }
  }

  @Test func recordsMayHaveAFolder() throws {
    let archive = MemoryArchive(
      Pickle.dictionary([("w", weight)]).program, storages: ["0": 24], prefix: "model/")
    let tensor = try #require(try PyTorchArchive(archive, file: "x.pth").tensors.first)
    #expect(tensor.storage == ByteRange(file: "x.pth", offset: 64, count: 24))
  }

  @Test func viewsOfOneStorage() throws {
    let pickle = Pickle.dictionary([
      ("row", .tensor(count: 6, offset: 3, shape: [3], strides: [1])),
      ("column", .tensor(count: 6, offset: 1, shape: [2], strides: [3])),
      ("transposed", .tensor(count: 6, shape: [3, 2], strides: [1, 3])),
      ("empty", .tensor(count: 6, offset: 6, shape: [0, 5], strides: [5, 1])),
      ("scalar", .tensor(count: 6, offset: 5, shape: [], strides: [])),
    ])
    let tensors = try open(pickle).tensors
    #expect(tensors.map(\.isContiguous) == [true, false, false, true, true])
    #expect(tensors[0].contiguousBytes == ByteRange(file: "x.pth", offset: 76, count: 12))
    #expect(tensors[2].contiguousBytes == nil)
    #expect(tensors.map(\.elementCount) == [3, 2, 6, 0, 1])
  }

  @Test(arguments: [
    (0, [2, 4], [4, 1]), (1, [2, 3], [3, 1]), (-1, [2, 3], [3, 1]), (0, [-2, 3], [3, 1]),
    (0, [2, 3], [-3, 1]), (0, [2, 3], [3]), (7, [0], [1]), (0, [1 << 40, 1 << 40], [0, 0]),
    (0, [Int.max], [1]), (0, [2], [Int.max]), (Int.max, [2], [1]), (0, [Int.max, 2], [1, 0]),
  ])
  func tensorsOutsideTheirStorage(offset: Int, shape: [Int], strides: [Int]) {
    expectFailure(.malformed, "x.pth: w with shape") {
      let tensor = Pickle.tensor(count: 6, offset: offset, shape: shape, strides: strides)
      _ = try open(.dictionary([("w", tensor)]))
    }
  }

  @Test func storageOfAnotherSize() {
    expectFailure(.malformed, "storage 0 of w has 20 bytes", "24") {
      _ = try open(.dictionary([("w", weight)]), storages: ["0": 20])
    }
  }

  @Test func storageThatIsMissing() {
    expectFailure(.malformed, "data/0", "missing") {
      _ = try open(.dictionary([("w", weight)]), storages: [:])
    }
  }

  @Test func compressedStorage() {
    var archive = MemoryArchive(Pickle.dictionary([("w", weight)]).program, storages: ["0": 24])
    archive.compressed = ["data/0"]
    expectFailure(.unsupported, "compressed") { _ = try PyTorchArchive(archive, file: "x.pth") }
  }

  @Test func compressedPickle() {
    var archive = MemoryArchive(Pickle.dictionary([("w", weight)]).program, storages: ["0": 24])
    archive.compressed = ["data.pkl"]
    expectFailure(.unsupported, "data.pkl is compressed") {
      _ = try PyTorchArchive(archive, file: "x.pth")
    }
  }

  @Test(arguments: [(-1, 24), (0, -24), (Int.max, 24)])
  func recordsInImpossiblePlaces(offset: Int, count: Int) {
    var archive = MemoryArchive(Pickle.dictionary([("w", weight)]).program, storages: ["0": 24])
    archive.places["data/0"] = (offset, count)
    expectFailure(.malformed, "record data/0 has \(count) bytes at \(offset)") {
      _ = try PyTorchArchive(archive, file: "x.pth")
    }
  }

  @Test func pickleOfManyGigabytesIsNotRead() {
    var archive = MemoryArchive([])
    archive.places["data.pkl"] = (64, 1 << 40)
    expectFailure(.malformed, "data.pkl", "over the limit") {
      _ = try PyTorchArchive(archive, file: "x.pth")
    }
  }

  @Test(arguments: ["big", "", "little\n"])
  func otherByteOrders(order: String) {
    var archive = MemoryArchive(Pickle.dictionary([]).program)
    archive.records["byteorder"] = Array(order.utf8)
    expectFailure(.unsupported, "byte order") { _ = try PyTorchArchive(archive, file: "x.pth") }
  }

  @Test func archiveOfSomethingElse() {
    var archive = MemoryArchive([])
    archive.records = ["word/document.xml": []]
    expectFailure(.unsupported, "data.pkl") { _ = try PyTorchArchive(archive, file: "x.docx") }
  }

  @Test func twoTensorsOfOneName() {
    expectFailure(.malformed, "a.b") {
      _ = try open(.dictionary([("a.b", weight), ("a", .dictionary([("b", weight)]))]))
    }
  }

  /// Each list holds the one before it twice: 2 to the power of 60 tensors from a few hundred bytes.
  @Test func valuesSharedWithoutEnd() {
    var code = Pickle.list([weight]).code
    for index in 0..<60 {
      let index = UInt8(index)
      code += Array("q".utf8) + [index, 0x30] + Array("](h".utf8) + [index]
      code += Array("h".utf8) + [index] + Array("e".utf8)
    }
    expectFailure(.malformed, "more than") { _ = try open(.raw(code)) }
  }
}
