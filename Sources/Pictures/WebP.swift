import CPicturesWebP

enum WebP {
  /// Pixels of the first frame as RGB bytes, and the orientation in the EXIF or XMP chunk.
  ///
  /// Transparency is blended with `background`, or dropped where that is nil.
  static func decode(
    _ data: [UInt8], name: String, over background: RGB?, limits: PictureLimits
  ) throws(PictureError) -> (Picture, Orientation) {
    var features = WebPBitstreamFeatures()
    let status = WebPGetFeatures(data, data.count, &features)
    guard status == VP8_STATUS_OK else { throw .damaged(name, explain(status)) }
    let (width, height) = (Int(features.width), Int(features.height))
    try limits.check(width: width, height: height, name: name)

    var isComplete = false
    var succeeded = false
    var orientation = Orientation.upright
    // To bytes of three channels, or of four where there is something to blend.
    func decode(into out: UnsafeMutablePointer<UInt8>, channels: Int) {
      data.withUnsafeBufferPointer { bytes in
        var file = WebPData(bytes: bytes.baseAddress, size: bytes.count)
        guard let container = WebPDemux(&file) else { return }
        defer { WebPDemuxDelete(container) }
        isComplete = true
        orientation = Orientation(
          exif: chunk("EXIF", of: container), xmp: chunk("XMP ", of: container))
        if features.has_animation != 0 {
          succeeded = decodeFirstFrame(
            &file, count: width * height, channels: channels, into: out)
        } else {
          let decode = channels == 4 ? WebPDecodeRGBAInto : WebPDecodeRGBInto
          let (size, stride) = (width * height * channels, Int32(width * channels))
          succeeded = decode(bytes.baseAddress, bytes.count, out, size, stride) != nil
        }
      }
    }
    let picture =
      if let background, features.has_alpha != 0 {
        Picture(width: width, height: height, over: background) { decode(into: $0, channels: 4) }
      } else {
        Picture(width: width, height: height) { decode(into: $0, channels: 3) }
      }
    guard isComplete else { throw .damaged(name, "a chunk is cut off") }
    guard succeeded else { throw .damaged(name, "its pixels cannot be decoded") }
    return (picture, orientation)
  }

  /// A file without metadata, which libwebp's encoder does not write; nil quality keeps every bit.
  static func encode(_ picture: Picture, quality: Int?, metadata: PictureMetadata, name: String)
    throws(PictureError) -> [UInt8]
  {
    if let quality, !(0...100).contains(quality) {
      throw .quality(quality, "WebP", 0...100, name)
    }
    let largest = Int(WEBP_MAX_DIMENSION)
    if max(picture.width, picture.height) > largest {
      throw .tooLargeFor("WebP", side: largest, picture, name)
    }
    if let entry = metadata.entries.first {
      throw PictureError(
        .invalidArgument, name, "cannot hold the text \"\(entry.key)\", being WebP",
        mend: "write a PNG or JPEG, or leave the text out")
    }
    var bytes: UnsafeMutablePointer<UInt8>?
    defer { WebPFree(bytes) }
    let (width, height) = (Int32(picture.width), Int32(picture.height))
    let length =
      if let quality {
        WebPEncodeRGB(picture.pixels, width, height, 3 * width, Float(quality), &bytes)
      } else {
        WebPEncodeLosslessRGB(picture.pixels, width, height, 3 * width, &bytes)
      }
    guard length > 0, let bytes else { throw .encoding(name, "WebP", "out of memory") }
    return Array(UnsafeBufferPointer(start: bytes, count: length))
  }

  /// The body of the first chunk of a kind, or nothing.
  private static func chunk(_ kind: String, of container: OpaquePointer) -> [UInt8] {
    var chunk = WebPChunkIterator()
    guard WebPDemuxGetChunk(container, kind, 1, &chunk) != 0 else { return [] }
    defer { WebPDemuxReleaseChunkIterator(&chunk) }
    return Array(UnsafeBufferPointer(start: chunk.chunk.bytes, count: chunk.chunk.size))
  }

  private static func decodeFirstFrame(
    _ file: inout WebPData, count: Int, channels: Int, into out: UnsafeMutablePointer<UInt8>
  ) -> Bool {
    guard let animation = WebPAnimDecoderNew(&file, nil) else { return false }
    defer { WebPAnimDecoderDelete(animation) }
    var frame: UnsafeMutablePointer<UInt8>?
    var milliseconds: Int32 = 0
    guard WebPAnimDecoderGetNext(animation, &frame, &milliseconds) != 0, let frame else {
      return false
    }
    for pixel in 0..<count {
      for channel in 0..<channels { out[channels * pixel + channel] = frame[4 * pixel + channel] }
    }
    return true
  }

  private static func explain(_ status: VP8StatusCode) -> String {
    switch status {
    case VP8_STATUS_NOT_ENOUGH_DATA: "its header is cut off"
    case VP8_STATUS_UNSUPPORTED_FEATURE: "it uses an unknown feature"
    default: "its header is not valid"
    }
  }
}
