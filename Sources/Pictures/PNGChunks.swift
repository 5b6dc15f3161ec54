/// Where the chunks of a PNG lie.
struct PNGChunks {
  /// The chunks of compressed pixels.
  private(set) var pixels: [Range<Int>] = []
  /// Where the end chunk begins; nil where the file ends before it is whole.
  private(set) var end: Int?

  var isComplete: Bool { end != nil }

  init(of data: [UInt8]) {
    var at = 8  // behind the signature
    while at + 12 <= data.count {
      let length = data[at..<at + 4].reduce(0) { $0 << 8 | Int($1) }
      let next = at + 12 + length  // length, kind, body, checksum
      if next > data.count { return }
      let kind = data[at + 4..<at + 8]
      if kind.elementsEqual("IEND".utf8) {
        end = at
        return
      }
      if kind.elementsEqual("IDAT".utf8) { pixels.append(at..<next) }
      at = next
    }
  }

  /// The same file with empty pixels behind all other chunks, so that reading its notes decodes
  /// nothing; nil where the end is missing.
  func notes(of data: [UInt8]) -> [UInt8]? {
    guard let end else { return nil }
    var notes: [UInt8] = []
    var at = 0
    for range in pixels {
      notes += data[at..<range.lowerBound]
      at = range.upperBound
    }
    notes += data[at..<end]
    notes += [0, 0, 0, 0, 0x49, 0x44, 0x41, 0x54, 0x35, 0xAF, 0x06, 0x1E]  // IDAT
    notes += [0, 0, 0, 0, 0x49, 0x45, 0x4E, 0x44, 0xAE, 0x42, 0x60, 0x82]  // IEND
    return notes
  }
}
