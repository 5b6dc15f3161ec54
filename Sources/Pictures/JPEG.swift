import CPicturesJPEG

enum JPEG {
  /// Pixels as RGB bytes, and the orientation in the EXIF or XMP segment.
  static func decode(_ data: [UInt8], name: String, limits: PictureLimits) throws(PictureError)
    -> (Picture, Orientation)
  {
    guard let decoder = tjInitDecompress() else { throw .damaged(name, "out of memory") }
    defer { tjDestroy(decoder) }
    func message() -> String { String(cString: tjGetErrorStr2(decoder)) }

    var (width, height, subsampling, space): (Int32, Int32, Int32, Int32) = (0, 0, 0, 0)
    let status = tjDecompressHeader3(
      decoder, data, UInt(data.count), &width, &height, &subsampling, &space)
    // A size with an unusual subsampling is an error here, but decodes.
    if status != 0 && (width < 1 || height < 1) { throw .damaged(name, message()) }
    let size = (width: Int(width), height: Int(height))
    try limits.check(width: size.width, height: size.height, name: name)
    let segments = JPEGSegments(of: data)
    guard segments.isComplete else { throw .damaged(name, "its end marker is missing") }
    let data = segments.withoutStrays(data)

    let isInk = space == Int32(TJCS_CMYK.rawValue) || space == Int32(TJCS_YCCK.rawValue)
    func decode(into out: UnsafeMutablePointer<UInt8>, as format: TJPF) -> Int32 {
      // Many tiny scans make a small file slow; the flag refuses more than 500.
      tjDecompress2(
        decoder, data, UInt(data.count), out, width, 0, height, Int32(format.rawValue),
        TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS)
    }
    var result: Int32 = 0
    let picture = Picture(width: size.width, height: size.height) { out in
      guard isInk else {
        result = decode(into: out, as: TJPF_RGB)
        return
      }
      let count = size.width * size.height
      let inks = UnsafeMutablePointer<UInt8>.allocate(capacity: 4 * count)
      defer { inks.deallocate() }
      result = decode(into: inks, as: TJPF_CMYK)
      convert(inks: inks, count: count, into: out)
    }
    if result != 0 {
      // Harmless remarks, such as an unknown JFIF revision, come as warnings too.
      let why = message()
      let isHarmless =
        tjGetErrorCode(decoder) == Int32(TJERR_WARNING.rawValue)
        && !["remature end", "bad Huffman", "bad arithmetic", "instead of RST"]
          .contains(where: why.contains)
      if !isHarmless { throw .damaged(name, why) }
    }
    return (picture, Orientation(exif: segments.exif, xmp: segments.xmp))
  }

  /// Cyan, magenta, yellow and black to red, green and blue, without a colour profile.
  ///
  /// Adobe's programs store inks inverted (255 is none), and everybody else followed: so a stored
  /// byte is the light that the ink leaves. The rest is Pillow's arithmetic.
  private static func convert(
    inks: UnsafeMutablePointer<UInt8>, count: Int, into out: UnsafeMutablePointer<UInt8>
  ) {
    for pixel in 0..<count {
      let light = Int(inks[4 * pixel + 3])
      for channel in 0..<3 {
        // ink * light / 255, rounded
        let product = (255 - Int(inks[4 * pixel + channel])) * light + 128
        out[3 * pixel + channel] = UInt8(max(light - ((product >> 8) + product) >> 8, 0))
      }
    }
  }

  /// A file with the full set of colours from quality 90 on, and colours at half the resolution
  /// below; each text becomes a comment segment, `key: value` in UTF-8.
  static func encode(_ picture: Picture, quality: Int, metadata: PictureMetadata, name: String)
    throws(PictureError) -> [UInt8]
  {
    guard (1...100).contains(quality) else { throw .quality(quality, "JPEG", 1...100, name) }
    if max(picture.width, picture.height) > 65_500 {
      throw .tooLargeFor("JPEG", side: 65_500, picture, name)
    }
    guard let encoder = tjInitCompress() else { throw .encoding(name, "JPEG", "out of memory") }
    defer { tjDestroy(encoder) }
    var bytes: UnsafeMutablePointer<UInt8>?
    var length: UInt = 0
    defer { tjFree(bytes) }
    let subsampling = quality >= 90 ? TJSAMP_444 : TJSAMP_420
    let status = tjCompress2(
      encoder, picture.pixels, Int32(picture.width), 0, Int32(picture.height),
      Int32(TJPF_RGB.rawValue), &bytes, &length, Int32(subsampling.rawValue), Int32(quality),
      TJFLAG_ACCURATEDCT)
    guard status == 0, let bytes else {
      throw .encoding(name, "JPEG", String(cString: tjGetErrorStr2(encoder)))
    }
    var file = Array(UnsafeBufferPointer(start: bytes, count: Int(length)))
    // Behind the start marker and the JFIF segment, which must come first.
    let start = 2 + (file[3] == 0xE0 ? 2 + Int(file[4]) << 8 + Int(file[5]) : 0)
    file.insert(contentsOf: try comments(metadata, name: name), at: start)
    return file
  }

  private static func comments(_ metadata: PictureMetadata, name: String) throws(PictureError)
    -> [UInt8]
  {
    var segments: [UInt8] = []
    for entry in metadata.entries {
      let text = Array("\(entry.key): \(entry.value)".utf8)
      if text.count > 65_533 {
        throw PictureError(
          .invalidArgument, name,
          "cannot hold the text \"\(entry.key)\" of \(text.count) bytes",
          mend: "keep it below 65534 bytes or write a PNG")
      }
      segments += [0xFF, 0xFE, UInt8((text.count + 2) >> 8), UInt8((text.count + 2) & 255)]
      segments += text
    }
    return segments
  }
}
