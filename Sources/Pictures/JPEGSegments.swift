/// What stands before the compressed pixels of a JPEG, and whether anything ends them.
struct JPEGSegments {
  /// The first EXIF block, or nothing.
  private(set) var exif: [UInt8] = []
  /// The first XMP packet, or nothing.
  private(set) var xmp: [UInt8] = []
  /// Whether the end marker is there. Inside compressed pixels it cannot occur by chance.
  private(set) var isComplete = false
  /// Bytes between segments that belong to none.
  private var strays: [Range<Int>] = []

  init(of data: [UInt8]) {
    var at = 2  // behind the start marker
    while at + 4 <= data.count {
      let marker = data[at + 1]
      if data[at] != 0xFF || marker == 0 {
        let length = data[at] != 0xFF ? 1 : 2
        addStray(at..<at + length)
        at += length
      } else if marker == 0xFF {
        at += 1  // a fill byte
      } else if marker == 0x01 || (0xD0...0xD9).contains(marker) {
        at += 2  // a marker without a body
      } else if marker == 0xDA {
        break  // the first scan
      } else {
        let end = at + 2 + max(Int(data[at + 2]) << 8 | Int(data[at + 3]), 2)
        if end > data.count { return }
        if marker == 0xE1 { addNote(data[at + 4..<end]) }
        at = end
      }
    }
    isComplete = Self.hasEnd(data, from: at)
  }

  /// The same file without the bytes that belong to no segment.
  ///
  /// Decoders skip them with a warning, and of several warnings libjpeg tells only the first: it
  /// would hide damage to the pixels.
  func withoutStrays(_ data: [UInt8]) -> [UInt8] {
    if strays.isEmpty { return data }
    var clean: [UInt8] = []
    var at = 0
    for stray in strays {
      clean += data[at..<stray.lowerBound]
      at = stray.upperBound
    }
    return clean + data[at...]
  }

  private mutating func addStray(_ range: Range<Int>) {
    if let last = strays.last, last.upperBound == range.lowerBound {
      strays[strays.count - 1] = last.lowerBound..<range.upperBound
    } else {
      strays.append(range)
    }
  }

  private mutating func addNote(_ body: ArraySlice<UInt8>) {
    let xmpName = "http://ns.adobe.com/xap/1.0/\0".utf8
    if exif.isEmpty && body.starts(with: "Exif\0\0".utf8) {
      exif = Array(body)
    } else if xmp.isEmpty && body.starts(with: xmpName) {
      xmp = Array(body.dropFirst(xmpName.count))
    }
  }

  private static func hasEnd(_ data: [UInt8], from start: Int) -> Bool {
    data.withUnsafeBufferPointer { bytes in
      for i in start..<max(bytes.count - 1, start) where bytes[i] == 0xFF && bytes[i + 1] == 0xD9 {
        return true
      }
      return false
    }
  }
}
