import CPicturesEXIF

/// How a camera was held: the values of EXIF's orientation tag, 0x0112.
enum Orientation: Int, CaseIterable {
  case upright = 1
  case mirrored
  case upsideDown
  case flipped
  case transposed
  case needsClockwiseTurn
  case transversed
  case needsCounterclockwiseTurn

  /// The orientation that a file's notes give, as Pillow finds it: EXIF's tag where there is one,
  /// else the one in XMP; upright where neither says anything that can be used.
  ///
  /// `exif` is a TIFF-structured block, with or without `Exif\0\0` before it, and `xmp` is XML. Both
  /// may be empty.
  init(exif: [UInt8], xmp: [UInt8] = []) {
    let value = Self.tag(in: exif) ?? Self.attribute(in: xmp)
    self = value.flatMap(Orientation.init(rawValue:)) ?? .upright
  }

  private static func tag(in exif: [UInt8]) -> Int? {
    if exif.isEmpty { return nil }
    let prefix: [UInt8] = [0x45, 0x78, 0x69, 0x66, 0, 0]  // "Exif\0\0"
    let bytes = exif.starts(with: prefix) ? exif : prefix + exif
    // A longer block than 1 MiB only holds previews behind the tags.
    guard let data = exif_data_new_from_data(bytes, UInt32(min(bytes.count, 1 << 20))) else {
      return nil
    }
    defer { exif_data_unref(data) }
    guard let main = data.pointee.ifd.0,
      let entry = exif_content_get_entry(main, EXIF_TAG_ORIENTATION),
      entry.pointee.format == EXIF_FORMAT_SHORT, entry.pointee.size >= 2
    else { return nil }
    return Int(exif_get_short(entry.pointee.data, exif_data_get_byte_order(data)))
  }

  /// The digit in `tiff:Orientation="6"` or `<tiff:Orientation>6<`.
  private static func attribute(in xmp: [UInt8]) -> Int? {
    for name in xmp.ranges(of: Array("tiff:Orientation".utf8)) {
      let rest = xmp[name.upperBound...]
      for opening in ["=\"", ">"] where rest.starts(with: opening.utf8) {
        if let digit = rest.dropFirst(opening.utf8.count).first, (0x30...0x39).contains(digit) {
          return Int(digit) - 0x30
        }
      }
    }
    return nil
  }
}

extension Picture {
  /// The picture turned and mirrored so that what was up is up.
  func upright(from orientation: Orientation) -> Picture {
    let (w, h) = (width, height)
    // In the upright picture, pixel (x, y) is the stored pixel origin + x * alongRow + y * down.
    let (origin, alongRow, down): (Int, Int, Int) =
      switch orientation {
      case .upright: (0, 1, w)
      case .mirrored: (w - 1, -1, w)
      case .upsideDown: (h * w - 1, -1, -w)
      case .flipped: ((h - 1) * w, 1, -w)
      case .transposed: (0, w, 1)
      case .needsClockwiseTurn: ((h - 1) * w, -w, 1)
      case .transversed: (h * w - 1, -w, -1)
      case .needsCounterclockwiseTurn: (w - 1, w, -1)
      }
    if orientation == .upright { return self }
    let turned = orientation.rawValue >= 5
    let (newWidth, newHeight) = turned ? (h, w) : (w, h)
    return pixels.withUnsafeBufferPointer { source in
      Picture(width: newWidth, height: newHeight) { out in
        var to = out
        for y in 0..<newHeight {
          var from = origin + y * down
          for _ in 0..<newWidth {
            to[0] = source[3 * from]
            to[1] = source[3 * from + 1]
            to[2] = source[3 * from + 2]
            to += 3
            from += alongRow
          }
        }
      }
    }
  }
}
