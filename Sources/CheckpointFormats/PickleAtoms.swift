/// Instructions that make a single value.
extension PickleMachine {
  /// The value that the instruction makes, or nil if it is of another kind.
  mutating func atom(_ opcode: PickleOpcode) throws(CheckpointFormatError) -> PickleItem? {
    switch opcode {
    case .none: PickleItem.none
    case .newTrue: .bool(true)
    case .newFalse: .bool(false)
    case .binInt: .int(Int(Int32(truncatingIfNeeded: try cursor.unsigned(4))))
    case .binInt1: .int(Int(try cursor.unsigned(1)))
    case .binInt2: .int(Int(try cursor.unsigned(2)))
    case .long1: long(try cursor.take(try cursor.length(1)))
    case .long4: long(try cursor.take(try cursor.length(4)))
    case .binFloat: .double(Double(bitPattern: try cursor.unsigned(8).byteSwapped))
    default: try text(opcode)
    }
  }

  private mutating func text(_ opcode: PickleOpcode) throws(CheckpointFormatError) -> PickleItem? {
    switch opcode {
    case .shortBinUnicode, .shortBinString: .string(try cursor.text(try cursor.length(1)))
    case .binUnicode, .binString: .string(try cursor.text(try cursor.length(4)))
    case .binUnicode8: .string(try cursor.text(try cursor.length(8)))
    case .shortBinBytes: .bytes(Array(try cursor.take(try cursor.length(1))))
    case .binBytes: .bytes(Array(try cursor.take(try cursor.length(4))))
    case .binBytes8, .byteArray8: .bytes(Array(try cursor.take(try cursor.length(8))))
    default: nil
    }
  }

  /// A whole number of any length in two's complement; one that does not fit 64 bits is kept as an opaque value.
  private func long(_ bytes: ArraySlice<UInt8>) -> PickleItem {
    guard let top = bytes.last else { return .int(0) }
    guard bytes.count <= 8 else { return .opaque("int of \(bytes.count) bytes") }
    let start: Int = top & 0x80 == 0 ? 0 : -1
    return .int(bytes.reversed().reduce(start) { $0 << 8 | Int($1) })
  }
}
