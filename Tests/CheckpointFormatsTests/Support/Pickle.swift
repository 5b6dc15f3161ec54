/// Pickles put together by hand, instruction by instruction.
indirect enum Pickle {
  case none
  case int(Int)
  case double(Double)
  case string(String)
  case tuple([Pickle])
  case list([Pickle])
  case dictionary([(String, Pickle)])
  case ordered([(String, Pickle)])
  case call(String, String, [Pickle])
  case storage(type: String, key: String, count: Int)
  case raw([UInt8])

  /// The whole pickle, protocol mark and stop included.
  var program: [UInt8] { [0x80, 2] + code + Array(".".utf8) }

  var code: [UInt8] {
    switch self {
    case .none: Array("N".utf8)
    case .int(let value): [0x8A, 8] + littleEndian(value, 8)
    case .double(let value):
      Array("G".utf8) + littleEndian(Int(bitPattern: UInt(value.bitPattern)), 8).reversed()
    case .string(let text): Array("X".utf8) + littleEndian(text.utf8.count, 4) + Array(text.utf8)
    case .tuple(let items): Array("(".utf8) + items.flatMap(\.code) + Array("t".utf8)
    case .list(let items): Array("](".utf8) + items.flatMap(\.code) + Array("e".utf8)
    case .dictionary(let entries): Array("}(".utf8) + code(of: entries) + Array("u".utf8)
    case .ordered(let entries):
      Pickle.call("collections", "OrderedDict", []).code + Array("(".utf8) + code(of: entries)
        + Array("u".utf8)
    case .call(let module, let name, let arguments):
      Array("c\(module)\n\(name)\n".utf8) + Pickle.tuple(arguments).code + Array("R".utf8)
    case .storage(let type, let key, let count):
      Pickle.tuple([
        .string("storage"), .raw(Array("ctorch\n\(type)\n".utf8)), .string(key), .string("cpu"),
        .int(count),
      ]).code + Array("Q".utf8)
    case .raw(let bytes): bytes
    }
  }

  private func code(of entries: [(String, Pickle)]) -> [UInt8] {
    entries.flatMap { Pickle.string($0.0).code + $0.1.code }
  }

  /// A tensor as `torch.save` describes it.
  static func tensor(
    type: String = "FloatStorage", key: String = "0", count: Int, offset: Int = 0, shape: [Int],
    strides: [Int]
  ) -> Pickle {
    .call(
      "torch._utils", "_rebuild_tensor_v2",
      [
        .storage(type: type, key: key, count: count), .int(offset), .tuple(shape.map(Pickle.int)),
        .tuple(strides.map(Pickle.int)), .raw([0x89]), .ordered([]),
      ])
  }
}

func littleEndian(_ value: Int, _ width: Int) -> [UInt8] {
  (0..<width).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
}
