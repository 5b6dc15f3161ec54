import CPicturesPNG

enum PNG {
  /// Pixels as RGB bytes, and the orientation in the EXIF or XMP chunk.
  ///
  /// Transparency is blended with `background`, or dropped where that is nil.
  static func decode(
    _ data: [UInt8], name: String, over background: RGB?, limits: PictureLimits
  ) throws(PictureError) -> (Picture, Orientation) {
    let reader = try Reader(data, name: name)
    var header = spng_ihdr()
    try reader.check(spng_get_ihdr(reader.context, &header))
    try limits.check(width: Int(header.width), height: Int(header.height), name: name)
    guard PNGChunks(of: data).isComplete else { throw .damaged(name, "its end is missing") }
    let picture = try reader.pixels(header, over: background)
    // What follows the pixels may hold the orientation.
    try reader.check(spng_decode_chunks(reader.context))
    return (picture, try reader.orientation())
  }

  /// zlib's own choice, 6, took twice as long for photographs of 256 px (11 ms, here 5) and made them 5 to 15 % smaller.
  /// A GPU makes such a picture in 2 to 9 ms.
  private static let compressionLevel: Int32 = 2

  /// A file of 8-bit RGB without interlacing.
  static func encode(_ picture: Picture, metadata: PictureMetadata, name: String)
    throws(PictureError) -> [UInt8]
  {
    guard let context = spng_ctx_new(Int32(SPNG_CTX_ENCODER.rawValue)) else {
      throw .encoding(name, "PNG", "out of memory")
    }
    defer { spng_ctx_free(context) }
    func check(_ status: Int32) throws(PictureError) {
      if status != 0 { throw .encoding(name, "PNG", message(status)) }
    }
    try check(spng_set_option(context, SPNG_ENCODE_TO_BUFFER, 1))
    try check(spng_set_option(context, SPNG_IMG_COMPRESSION_LEVEL, compressionLevel))
    var header = spng_ihdr()
    guard let width = Int32(exactly: picture.width), let height = Int32(exactly: picture.height)
    else { throw .tooLargeFor("PNG", side: Int(Int32.max), picture, name) }
    header.width = UInt32(width)
    header.height = UInt32(height)
    header.bit_depth = 8
    header.color_type = UInt8(SPNG_COLOR_TYPE_TRUECOLOR.rawValue)
    try check(spng_set_ihdr(context, &header))
    // The encoder refers to the texts until it is done.
    let texts = try PNGTexts(metadata, name: name)
    defer { withExtendedLifetime(texts) {} }
    try check(texts.set(in: context))
    try check(
      spng_encode_image(
        context, picture.pixels, picture.pixels.count, Int32(SPNG_FMT_PNG.rawValue),
        Int32(SPNG_ENCODE_FINALIZE.rawValue)))
    var length = 0
    var status: Int32 = 0
    guard let bytes = spng_get_png_buffer(context, &length, &status) else {
      throw .encoding(name, "PNG", message(status))
    }
    defer { free(bytes) }
    return Array(UnsafeRawBufferPointer(start: bytes, count: length))
  }

  static func message(_ status: Int32) -> String {
    String(cString: spng_strerror(status))
  }

  /// A decoder over bytes that it keeps alive.
  final class Reader {
    let context: OpaquePointer
    private let bytes: UnsafeMutableRawPointer
    private let name: String

    init(_ data: [UInt8], name: String) throws(PictureError) {
      guard let context = spng_ctx_new(0) else { throw .damaged(name, "out of memory") }
      self.context = context
      self.name = name
      bytes = UnsafeMutableRawPointer.allocate(byteCount: data.count, alignment: 1)
      data.withUnsafeBytes { bytes.copyMemory(from: $0.baseAddress!, byteCount: data.count) }
      // A damaged side note is dropped; texts and profiles stay within a bound.
      try check(
        spng_set_crc_action(
          context, Int32(SPNG_CRC_ERROR.rawValue), Int32(SPNG_CRC_DISCARD.rawValue)))
      try check(spng_set_chunk_limits(context, 16 << 20, 64 << 20))
      try check(spng_set_png_buffer(context, bytes, data.count))
    }

    deinit {
      spng_ctx_free(context)
      bytes.deallocate()
    }

    func check(_ status: Int32) throws(PictureError) {
      if status != 0 { throw .damaged(name, PNG.message(status)) }
    }

    func pixels(_ header: spng_ihdr, over background: RGB?) throws(PictureError) -> Picture {
      let (width, height) = (Int(header.width), Int(header.height))
      var status: Int32 = 0
      if let background, isTransparent(header) {
        let picture = Picture(width: width, height: height, over: background) { out in
          status = spng_decode_image(
            context, out, width * height * 4, Int32(SPNG_FMT_RGBA8.rawValue),
            Int32(SPNG_DECODE_TRNS.rawValue))
        }
        try check(status)
        return picture
      }
      let isDeepGray =
        header.bit_depth == 16 && header.color_type == UInt8(SPNG_COLOR_TYPE_GRAYSCALE.rawValue)
      let picture = Picture(width: width, height: height) { out in
        status =
          isDeepGray
          ? decodeDeepGray(count: width * height, into: out)
          : spng_decode_image(context, out, width * height * 3, Int32(SPNG_FMT_RGB8.rawValue), 0)
      }
      try check(status)
      return picture
    }

    /// Whether there is an alpha channel, or a chunk that makes a colour or palette entries transparent.
    private func isTransparent(_ header: spng_ihdr) -> Bool {
      let types = [SPNG_COLOR_TYPE_GRAYSCALE_ALPHA, SPNG_COLOR_TYPE_TRUECOLOR_ALPHA]
      if types.contains(where: { header.color_type == UInt8($0.rawValue) }) { return true }
      var chunk = spng_trns()
      return spng_get_trns(context, &chunk) == 0
    }

    /// Grey of 16 bits, where Pillow does not scale but makes all from 255 up white.
    private func decodeDeepGray(count: Int, into out: UnsafeMutablePointer<UInt8>) -> Int32 {
      let samples = UnsafeMutableBufferPointer<UInt16>.allocate(capacity: count)
      defer { samples.deallocate() }
      let status = spng_decode_image(
        context, samples.baseAddress, 2 * count, Int32(SPNG_FMT_PNG.rawValue), 0)
      if status != 0 { return status }
      for pixel in 0..<count {
        let level = UInt8(clamping: samples[pixel])
        for channel in 0..<3 { out[3 * pixel + channel] = level }
      }
      return 0
    }

    /// What the chunks read so far say, as Pillow looks for it.
    func orientation() throws(PictureError) -> Orientation {
      let texts = try texts()
      let xmp = texts.first { $0.key == "XML:com.adobe.xmp" }.map { Array($0.value.utf8) } ?? []
      var chunk = spng_exif()
      if spng_get_exif(context, &chunk) == 0, let block = chunk.data {
        let exif = UnsafeRawBufferPointer(start: block, count: chunk.length)
        return Orientation(exif: Array(exif), xmp: xmp)
      }
      let profile = texts.first { $0.key == "Raw profile type exif" }?.value
      return Orientation(exif: profile.map(bytes(ofRawProfile:)) ?? [], xmp: xmp)
    }

    /// ImageMagick's notation: an empty line, the kind, the length, then hexadecimal digits.
    private func bytes(ofRawProfile text: String) -> [UInt8] {
      let lines = text.utf8.split(separator: 0x0A, omittingEmptySubsequences: false)
      let digits = lines.dropFirst(3).joined()
        .compactMap { Character(Unicode.Scalar($0)).hexDigitValue }
      return stride(from: 0, to: digits.count - 1, by: 2).map {
        UInt8(digits[$0] << 4 | digits[$0 + 1])
      }
    }
  }
}
