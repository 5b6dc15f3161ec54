import Foundation

/// A form with files (`multipart/form-data`, RFC 7578), whole in memory.
enum MultipartForm {
  private static let partLimit = 64
  private static let headLimit = 8192

  /// - Parameter contentType: The request's, with its boundary.
  /// - Throws: ``APIError`` where the body is no such form.
  static func fields(_ body: Data, contentType: String) throws(APIError) -> RequestFields {
    guard let boundary = parameter("boundary", of: contentType), (1...70).contains(boundary.count)
    else {
      throw malformed("the content type names no boundary")
    }
    let delimiter = Data("\r\n--\(boundary)".utf8)
    var fields: [String: RequestFields.Value] = [:]
    // The first delimiter has no line before it.
    let body = Data("\r\n".utf8) + body
    guard var position = body.range(of: delimiter)?.upperBound else {
      throw malformed("its boundary does not occur in it")
    }
    while !body[position...].starts(with: Data("--".utf8)) {
      guard let lineEnd = body.range(of: Data("\r\n".utf8), in: position..<body.endIndex),
        body[position..<lineEnd.lowerBound].allSatisfy({ $0 == 0x20 || $0 == 0x09 }),
        let end = body.range(of: delimiter, in: lineEnd.lowerBound..<body.endIndex)
      else { throw malformed("a part of it does not end") }
      let part = body[lineEnd.lowerBound..<end.lowerBound]
      let (name, value) = try field(part)
      guard fields[name] == nil else { throw twice(name) }
      fields[name] = value
      guard fields.count <= partLimit else {
        throw malformed("it has more than \(partLimit) parts")
      }
      position = end.upperBound
    }
    return RequestFields(fields)
  }

  private static func twice(_ name: String) -> APIError {
    EditParameters.pictureNames.contains(name)
      ? EditParameters.severalPictures
      : .invalid(String(name.prefix(60)), "\(quoted(name)) is there twice; send it once")
  }

  /// One part, from the end of its delimiter's line.
  private static func field(_ part: Data) throws(APIError) -> (String, RequestFields.Value) {
    // The head's first line follows the delimiter's end of line.
    guard let headEnd = part.range(of: Data("\r\n\r\n".utf8)),
      headEnd.lowerBound - part.startIndex <= headLimit
    else { throw malformed("a part of it has no head") }
    let head = String(decoding: part[part.startIndex..<headEnd.lowerBound], as: UTF8.self)
    let disposition = head.split(whereSeparator: \.isNewline).first {
      $0.lowercased().hasPrefix("content-disposition:")
    }
    guard let disposition, let name = parameter("name", of: String(disposition)) else {
      throw malformed("a part of it has no name")
    }
    let isFile = parameter("filename", of: String(disposition)) != nil
    return (name, .form(Array(part[headEnd.upperBound...]), isFile: isFile))
  }

  /// `value` of `…; name=value` or `…; name="value"`.
  static func parameter(_ name: String, of field: String) -> String? {
    for piece in pieces(field).dropFirst() {
      let sides = piece.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard sides.count == 2, sides[0].trimmed.lowercased() == name else { continue }
      let value = sides[1].trimmed
      guard value.hasPrefix("\""), value.hasSuffix("\""), value.count >= 2 else { return value }
      return String(value.dropFirst().dropLast()).replacing("\\\"", with: "\"")
        .replacing("%22", with: "\"")
    }
    return nil
  }

  /// What stands between semicolons outside quotes.
  private static func pieces(_ field: String) -> [String] {
    var (pieces, isQuoted, before) = ([""], false, Character(" "))
    for character in field {
      if character == "\"", before != "\\" { isQuoted.toggle() }
      if character == ";", !isQuoted {
        pieces.append("")
      } else {
        pieces[pieces.count - 1].append(character)
      }
      before = character
    }
    return pieces
  }

  private static func malformed(_ why: String) -> APIError {
    .invalid(
      nil, "the form cannot be read (\(why)); send multipart/form-data with one part a parameter",
      code: "invalid_form")
  }
}

extension StringProtocol {
  fileprivate var trimmed: String {
    String(drop { $0.isWhitespace }.reversed().drop { $0.isWhitespace }.reversed())
  }
}
