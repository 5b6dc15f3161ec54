#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// What is refused before anything is decoded, so that a small file cannot fill the memory.
public struct PictureLimits: Sendable, Equatable {
  /// The most pixels, width times height.
  public var pixels: Int
  /// The most bytes of a file.
  public var bytes: Int

  /// 100 megapixels and 256 MiB, unless told otherwise.
  public init(pixels: Int = 100_000_000, bytes: Int = 256 << 20) {
    self.pixels = pixels
    self.bytes = bytes
  }
}

extension Picture {
  /// Reads a PNG, JPEG or WebP file, told apart by their first bytes, and turns it upright as its
  /// EXIF orientation says.
  ///
  /// The bytes are what Pillow's `ImageOps.exif_transpose(Image.open(path)).convert("RGB")` gives:
  /// transparency is dropped, not blended; 16 bits keep their upper 8, except in a grey PNG, where
  /// all from 255 up is white; colour profiles and gamma are left alone; an orientation in XMP counts
  /// where EXIF has none; of an animation the first frame counts. Where Pillow fills what is missing
  /// from a JPEG's pixels with grey, an error is thrown.
  ///
  /// - Throws: ``PictureError`` where the file cannot be read, is no such picture, is damaged or
  ///   ends early, or is above `limits`.
  public init(contentsOf path: String, limits: PictureLimits = PictureLimits())
    throws(PictureError)
  {
    try self.init(
      data: readFile(path, atMost: limits.bytes), name: path, limits: limits)
  }

  /// Reads a file as `init(contentsOf:limits:)` does with its path.
  ///
  /// - Throws: ``PictureError``, also where `url` does not name a file.
  public init(contentsOf url: URL, limits: PictureLimits = PictureLimits()) throws(PictureError) {
    try self.init(contentsOf: try url.filePath(), limits: limits)
  }

  /// Decodes the bytes of a PNG, JPEG or WebP file; `name` stands for them in errors.
  ///
  /// - Throws: ``PictureError`` where they are no such picture, are damaged or end early, or are
  ///   above `limits`.
  public init(data: [UInt8], name: String, limits: PictureLimits = PictureLimits())
    throws(PictureError)
  {
    try self.init(data: data, name: name, background: nil, limits: limits)
  }

  /// Reads a file as `init(contentsOf:limits:)` does, and blends what is transparent in it with
  /// `background`.
  ///
  /// - Throws: ``PictureError`` as there.
  public init(
    contentsOf path: String, over background: RGB, limits: PictureLimits = PictureLimits()
  ) throws(PictureError) {
    try self.init(
      data: readFile(path, atMost: limits.bytes), name: path, over: background, limits: limits)
  }

  /// Decodes bytes as `init(data:name:limits:)` does, and blends what is transparent in them with
  /// `background`.
  ///
  /// - Throws: ``PictureError`` as there.
  public init(
    data: [UInt8], name: String, over background: RGB, limits: PictureLimits = PictureLimits()
  ) throws(PictureError) {
    try self.init(data: data, name: name, background: background, limits: limits)
  }

  private init(data: [UInt8], name: String, background: RGB?, limits: PictureLimits)
    throws(PictureError)
  {
    if data.count > limits.bytes { throw .tooManyBytes(data.count, limits.bytes, name) }
    let (stored, orientation) =
      switch try Container(of: data, name: name) {
      case .png: try PNG.decode(data, name: name, over: background, limits: limits)
      case .jpeg: try JPEG.decode(data, name: name, limits: limits)
      case .webp: try WebP.decode(data, name: name, over: background, limits: limits)
      }
    self = stored.upright(from: orientation)
  }
}

/// The kinds of file that can be read.
enum Container {
  case png, jpeg, webp

  /// Tells a file by its first bytes.
  init(of data: [UInt8], name: String) throws(PictureError) {
    if data.starts(with: [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]) {
      self = .png
    } else if data.starts(with: [0xFF, 0xD8, 0xFF]) {
      self = .jpeg
    } else if data.starts(with: Array("RIFF".utf8)) && data.dropFirst(8).starts(with: "WEBP".utf8) {
      self = .webp
    } else if data.isEmpty {
      throw PictureError(
        .notAPicture, name, "is empty", mend: "give a PNG, JPEG or WebP picture")
    } else {
      let beginning = data.prefix(4).map(hexadecimal).joined(separator: " ")
      throw PictureError(
        .notAPicture, name, "is not a PNG, JPEG or WebP picture (it begins with \(beginning))",
        mend: "convert it first")
    }
  }
}

private func hexadecimal(_ byte: UInt8) -> String {
  (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
}

extension PictureLimits {
  /// Passes a size that a header gives, or throws.
  func check(width: Int, height: Int, name: String) throws(PictureError) {
    guard width >= 1, height >= 1 else {
      throw .damaged(name, "its header says \(width)x\(height) pixels")
    }
    let (count, overflow) = width.multipliedReportingOverflow(by: height)
    if overflow || count > pixels {
      throw PictureError(
        .tooLarge, name,
        "has \(width)x\(height) pixels, more than the limit of \(pixels)",
        mend: "shrink it first or raise the limit")
    }
  }
}

extension PictureError {
  static func damaged(_ name: String, _ why: String) -> PictureError {
    PictureError(
      .damaged, name, "is damaged or ends early (\(why))",
      mend: "fetch it again, or open and save it with another program")
  }

  static func tooManyBytes(_ count: Int, _ limit: Int, _ name: String) -> PictureError {
    PictureError(
      .tooLarge, name, "has \(count) bytes, more than the limit of \(limit)",
      mend: "shrink it first or raise the limit")
  }
}

extension URL {
  /// The path of a file URL.
  func filePath() throws(PictureError) -> String {
    guard isFileURL else {
      throw PictureError(
        .invalidArgument, absoluteString, "is not a file URL", mend: "save it to a file first")
    }
    return path
  }
}
