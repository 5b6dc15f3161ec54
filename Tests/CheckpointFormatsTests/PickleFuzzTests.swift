import CheckpointFormats
import Testing

/// Damaged pickles: each must give a value or an error, and never end the program.
@Suite struct PickleFuzzTests {
  private static let rounds = 10_000

  @Test func goldenPickleWithRandomDamage() throws {
    let whole = try Golden.pickle("mvar-64px/mvar.pth")
    // The first half makes every kind of instruction; shorter inputs allow more rounds.
    try damage(whole, rounds: Self.rounds / 10, seed: 1)
    try damage(Array(whole.prefix(700)) + Array("u.".utf8), rounds: Self.rounds, seed: 2)
  }

  @Test func beginningsOfAGoldenPickleThrow() throws {
    let whole = try Golden.pickle("var-128px/var.pth")
    _ = try PickleReader(file: "x.pth").read(whole)
    for count in stride(from: 0, to: whole.count, by: 3) {
      #expect(throws: CheckpointFormatError.self) {
        try PickleReader(file: "x.pth").read(Array(whole.prefix(count)))
      }
    }
  }

  @Test func handMadePickleWithRandomDamage() throws {
    let tensor = Pickle.tensor(count: 6, shape: [2, 3], strides: [3, 1])
    let pickle = Pickle.ordered([
      ("trainer", .dictionary([("model", .ordered([("w", tensor)])), ("epoch", .int(3))])),
      ("args", .call("argparse", "Namespace", [])),
      ("set", .call("builtins", "set", [.list([.int(1)])])),
      ("none", .tuple([.none, .string("x")])),
    ])
    try damage(pickle.program, rounds: Self.rounds, seed: 3)
  }

  private func damage(_ whole: [UInt8], rounds: Int, seed: UInt64) throws {
    var random = SplitMix(state: seed)
    var survivors = 0
    for _ in 0..<rounds {
      let pickle = Self.damaged(whole, using: &random)
      do {
        let archive = MemoryArchive(pickle, storages: ["0": 512, "1": 7680, "2": 240])
        _ = try PyTorchArchive(archive, file: "x.pth")
        survivors += 1
      } catch {
        #expect(!error.description.contains("\n"))
      }
    }
    #expect(survivors < rounds)
  }

  /// Up to four changes: bytes replaced, dropped, doubled, or moved.
  private static func damaged(_ whole: [UInt8], using random: inout SplitMix) -> [UInt8] {
    var bytes = whole
    for _ in 0..<Int.random(in: 1...4, using: &random) {
      let start = Int.random(in: bytes.indices, using: &random)
      let end = min(bytes.count, start + Int.random(in: 1...8, using: &random))
      switch Int.random(in: 0..<5, using: &random) {
      case 0: bytes[start] = UInt8.random(in: 0...255, using: &random)
      case 1: bytes[start] ^= 1 << UInt8.random(in: 0..<8, using: &random)
      case 2 where bytes.count > 16: bytes.removeSubrange(start..<end)
      case 3: bytes.insert(contentsOf: bytes[start..<end], at: start)
      default: for place in start..<end { bytes[place] = bytes.randomElement(using: &random)! }
      }
    }
    return bytes
  }
}

/// A small generator with a seed, so that a failure can be repeated.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
