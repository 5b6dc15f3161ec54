import ArgumentParser
import Pictures

/// The kinds of picture file that are written.
enum PictureFileFormat: String, CaseIterable, ExpressibleByArgument {
  case png, jpeg, webp

  var ending: String { self == .jpeg ? "jpg" : rawValue }

  var format: PictureFormat {
    switch self {
    case .png: .png
    case .jpeg: .jpeg()
    case .webp: .webp()
    }
  }
}

extension Picture {
  /// Writes the picture with its texts, where the format can hold them.
  func write(to path: String, as format: PictureFormat, texts: PictureMetadata)
    throws(PictureError)
  {
    try write(to: path, as: format, metadata: format.carriesMetadata ? texts : [:])
  }
}
