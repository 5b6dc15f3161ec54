/// A message in the wire format of protocol buffers, field by field.
///
/// Event files need four kinds of field in five small messages, which `event.proto` and `summary.proto`
/// of TensorFlow fix for good; a code generator would be larger than what it makes.
struct WireMessage {
  private(set) var bytes: [UInt8] = []

  mutating func add(_ field: Int, _ value: Int64) {
    addKey(field, type: 0)
    addVariable(UInt64(bitPattern: value))
  }

  mutating func add(_ field: Int, _ value: Double) {
    addKey(field, type: 1)
    addFixed(value.bitPattern, count: 8)
  }

  mutating func add(_ field: Int, _ value: Float) {
    addKey(field, type: 5)
    addFixed(UInt64(value.bitPattern), count: 4)
  }

  mutating func add(_ field: Int, _ value: [UInt8]) {
    addKey(field, type: 2)
    addVariable(UInt64(value.count))
    bytes += value
  }

  mutating func add(_ field: Int, _ value: String) { add(field, Array(value.utf8)) }

  /// A message inside this one.
  mutating func add(_ field: Int, _ fill: (inout WireMessage) -> Void) {
    var inner = WireMessage()
    fill(&inner)
    add(field, inner.bytes)
  }

  private mutating func addKey(_ field: Int, type: UInt64) {
    addVariable(UInt64(field) << 3 | type)
  }

  /// Seven bits a byte, the lowest first; the top bit says that more follow.
  private mutating func addVariable(_ value: UInt64) {
    var rest = value
    while rest > 0x7F {
      bytes.append(UInt8(rest & 0x7F) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(rest))
  }

  private mutating func addFixed(_ value: UInt64, count: Int) {
    for byte in 0..<count { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * byte))) }
  }
}
