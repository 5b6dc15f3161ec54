#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// A kind of file that pictures can be written as.
public enum PictureFormat: Sendable, Hashable {
  /// Every bit kept; carries texts.
  case png
  /// Quality 1 to 100; carries texts as comments. From 90 on, colours keep their full resolution.
  case jpeg(quality: Int = 90)
  /// Quality 0 to 100; carries no texts.
  case webp(quality: Int = 90)
  /// Every bit kept; carries no texts.
  case losslessWebP

  /// Whether files of this kind can hold a ``PictureMetadata``.
  public var carriesMetadata: Bool {
    switch self {
    case .png, .jpeg: true
    case .webp, .losslessWebP: false
    }
  }

  /// The format that a path asks for by its ending: png, jpg, jpeg or webp, in any case of letters.
  ///
  /// - Throws: ``PictureError`` of kind `invalidArgument` for any other ending.
  public init(endingOf path: String) throws(PictureError) {
    let name = path.split(separator: "/").last ?? ""
    let ending = name.contains(".") ? name.split(separator: ".").last?.lowercased() : nil
    switch ending {
    case "png": self = .png
    case "jpg", "jpeg": self = .jpeg()
    case "webp": self = .webp()
    default:
      throw PictureError(
        .invalidArgument, path, "has no ending that names a picture format",
        mend: "end it in .png, .jpg or .webp")
    }
  }
}

extension Picture {
  /// The picture as the bytes of a file.
  ///
  /// PNG holds each text as a `tEXt` chunk, or as `iTXt` where it is not Latin-1; JPEG as a comment.
  /// WebP holds none. `name` stands for the file in errors.
  ///
  /// - Throws: ``PictureError`` where the quality is out of range, the picture is larger than the
  ///   format allows, or a text does not fit it.
  public func encoded(
    as format: PictureFormat, metadata: PictureMetadata = [:], name: String = "the picture"
  ) throws(PictureError) -> [UInt8] {
    switch format {
    case .png:
      try PNG.encode(self, metadata: metadata, name: name)
    case .jpeg(let quality):
      try JPEG.encode(self, quality: quality, metadata: metadata, name: name)
    case .webp(let quality):
      try WebP.encode(self, quality: quality, metadata: metadata, name: name)
    case .losslessWebP:
      try WebP.encode(self, quality: nil, metadata: metadata, name: name)
    }
  }

  /// Writes the picture to a file, in the format that its ending names unless `format` says another.
  ///
  /// At `path` stands either the old file or the whole new one, never a part: the bytes go to a
  /// temporary file in the same folder, to the disk, and then take the place of the old file. What
  /// fails leaves no temporary file behind. A device or a pipe is written to directly.
  ///
  /// - Throws: ``PictureError`` where the picture cannot be encoded or the file not written.
  public func write(
    to path: String, as format: PictureFormat? = nil, metadata: PictureMetadata = [:]
  ) throws(PictureError) {
    let format = if let format { format } else { try PictureFormat(endingOf: path) }
    let bytes = try encoded(as: format, metadata: metadata, name: path)
    try writeFile(bytes, to: path)
  }

  /// Writes the picture as `write(to:as:metadata:)` does with the path of a file URL.
  ///
  /// - Throws: ``PictureError``, also where `url` does not name a file.
  public func write(
    to url: URL, as format: PictureFormat? = nil, metadata: PictureMetadata = [:]
  ) throws(PictureError) {
    try write(to: try url.filePath(), as: format, metadata: metadata)
  }
}

extension PictureError {
  static func encoding(_ name: String, _ format: String, _ why: String) -> PictureError {
    PictureError(
      .unwritable, name, "cannot be encoded as \(format) (\(why))", mend: "try another format")
  }

  static func quality(_ value: Int, _ format: String, _ range: ClosedRange<Int>, _ name: String)
    -> PictureError
  {
    PictureError(
      .invalidArgument, name, "cannot be \(format) of quality \(value)",
      mend: "give \(range.lowerBound) to \(range.upperBound)")
  }

  static func tooLargeFor(_ format: String, side: Int, _ picture: Picture, _ name: String)
    -> PictureError
  {
    PictureError(
      .tooLarge, name,
      "has \(picture.width)x\(picture.height) pixels, and \(format) allows \(side) a side",
      mend: format == "PNG" ? "shrink it" : "shrink it or write a PNG")
  }
}
