import CPicturesPNG

/// How transparent a picture's pixels are, which ``Picture`` itself does not tell.
public struct Transparency: Sendable, Equatable {
  public let width: Int
  public let height: Int
  /// `[height, width]`, from 0 for opaque to 255 for wholly transparent.
  public let values: [UInt8]

  /// Reads the transparency of a PNG from its bytes; nil where every pixel is opaque, and for the other
  /// formats. `name` stands for the bytes in errors.
  ///
  /// - Throws: ``PictureError`` where they are no picture, or a PNG that is damaged or above `limits`.
  public init?(data: [UInt8], name: String, limits: PictureLimits = PictureLimits())
    throws(PictureError)
  {
    if data.count > limits.bytes { throw .tooManyBytes(data.count, limits.bytes, name) }
    guard case .png = try Container(of: data, name: name) else { return nil }
    let reader = try PNG.Reader(data, name: name)
    var header = spng_ihdr()
    try reader.check(spng_get_ihdr(reader.context, &header))
    (width, height) = (Int(header.width), Int(header.height))
    try limits.check(width: width, height: height, name: name)
    let count = width * height
    var status: Int32 = 0
    let pixels = [UInt8](unsafeUninitializedCapacity: 4 * count) { out, filled in
      status = spng_decode_image(
        reader.context, out.baseAddress!, 4 * count, Int32(SPNG_FMT_RGBA8.rawValue),
        Int32(SPNG_DECODE_TRNS.rawValue))
      filled = status == 0 ? 4 * count : 0
    }
    try reader.check(status)
    values = (0..<count).map { 255 - pixels[4 * $0 + 3] }
    if values.allSatisfy({ $0 == 0 }) { return nil }
  }
}
