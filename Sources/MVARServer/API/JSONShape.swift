import Foundation

/// How much a text of JSON holds, found without reading its values: a body of legal size may have a
/// million of them, each of which takes time and memory once it is read.
enum JSONShape {
  /// Values, lists and objects, none of which a request has many of.
  static let valueLimit = 100

  /// Whether there are more than ``valueLimit``.
  static func hasTooManyValues(_ json: Data) -> Bool {
    json.withUnsafeBytes { bytes in
      var (count, place) = (0, 0)
      while place < bytes.count {
        switch bytes[place] {
        case UInt8(ascii: "\""): place = textEnd(bytes, place)
        case UInt8(ascii: ","), UInt8(ascii: "["), UInt8(ascii: "{"): count += 1
        default: break
        }
        if count > valueLimit { return true }
        place += 1
      }
      return false
    }
  }

  /// Where the text ends that begins at a quote; the end of all where it does not.
  private static func textEnd(_ bytes: UnsafeRawBufferPointer, _ begin: Int) -> Int {
    var place = begin + 1
    while place < bytes.count,
      let quote = memchr(bytes.baseAddress! + place, 0x22, bytes.count - place)
    {
      let end = UnsafeRawPointer(quote) - bytes.baseAddress!
      let escapes = bytes[place..<end].reversed().prefix { $0 == UInt8(ascii: "\\") }.count
      if escapes.isMultiple(of: 2) { return end }
      place = end + 1
    }
    return bytes.count
  }
}
