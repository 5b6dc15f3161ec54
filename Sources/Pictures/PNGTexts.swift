import CPicturesPNG

/// Texts as libspng's encoder wants them, which refers to the bytes and does not copy them.
final class PNGTexts {
  private var texts: [spng_text] = []
  private var buffers: [UnsafeMutablePointer<CChar>] = []

  /// Latin-1 becomes `tEXt`, which every program reads, and all else `iTXt`.
  ///
  /// Throws where PNG does not allow a key or a value.
  init(_ metadata: PictureMetadata, name: String) throws(PictureError) {
    for entry in metadata.entries { texts.append(try text(entry, name: name)) }
  }

  deinit {
    for buffer in buffers { buffer.deallocate() }
  }

  /// Hands the texts to an encoder, which must not outlive them.
  func set(in context: OpaquePointer) -> Int32 {
    texts.isEmpty ? 0 : spng_set_text(context, &texts, UInt32(texts.count))
  }

  private func text(_ entry: PictureMetadata.Entry, name: String) throws(PictureError)
    -> spng_text
  {
    func mistake(_ problem: String, _ mend: String) -> PictureError {
      PictureError(.invalidArgument, name, "cannot hold the text \(problem)", mend: mend)
    }
    guard let key = keyword(entry.key) else {
      throw mistake(
        "key \"\(entry.key)\"",
        "use 1 to 79 Latin letters, with single spaces only between words")
    }
    if entry.value.isEmpty {
      throw mistake("\"\(entry.key)\", which is empty", "leave it out")
    }
    let scalars = entry.value.unicodeScalars
    if scalars.contains("\0") {
      throw mistake("\"\(entry.key)\", which contains a zero byte", "remove it")
    }
    let isPlain = scalars.allSatisfy { isPrintableLatin1($0) || $0 == "\n" }
    let value = isPlain ? scalars.map { UInt8($0.value) } : Array(entry.value.utf8)
    var text = spng_text()
    withUnsafeMutableBytes(of: &text.keyword) { $0.copyBytes(from: key) }
    text.type = Int32(isPlain ? SPNG_TEXT.rawValue : SPNG_ITXT.rawValue)
    text.length = value.count
    text.text = keep(value)
    text.language_tag = keep([])
    text.translated_keyword = keep([])
    return text
  }

  /// A C string that lives as long as `self`.
  private func keep(_ bytes: [UInt8]) -> UnsafeMutablePointer<CChar> {
    let buffer = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count + 1)
    for (i, byte) in bytes.enumerated() { buffer[i] = CChar(bitPattern: byte) }
    buffer[bytes.count] = 0
    buffers.append(buffer)
    return buffer
  }
}

/// A text's key in Latin-1, where PNG allows it.
private func keyword(_ key: String) -> [UInt8]? {
  let scalars = Array(key.unicodeScalars)
  guard (1...79).contains(scalars.count), scalars.allSatisfy(isPrintableLatin1),
    scalars.first != " ", scalars.last != " "
  else { return nil }
  for pair in zip(scalars, scalars.dropFirst()) where pair == (" ", " ") { return nil }
  return scalars.map { UInt8($0.value) }
}

private func isPrintableLatin1(_ scalar: Unicode.Scalar) -> Bool {
  (32...126).contains(scalar.value) || (161...255).contains(scalar.value)
}

private func latin1(_ bytes: some Sequence<UInt8>) -> String {
  var text = String.UnicodeScalarView()
  for byte in bytes { text.append(Unicode.Scalar(byte)) }
  return String(text)
}

extension PNG {
  /// The text chunks in the order of the file.
  static func texts(_ data: [UInt8], name: String) throws(PictureError) -> [PictureMetadata.Entry] {
    guard let notes = PNGChunks(of: data).notes(of: data) else {
      throw .damaged(name, "its end is missing")
    }
    return try Reader(notes, name: name).texts()
  }
}

extension PNG.Reader {
  /// The texts read so far; of a fresh reader, those before the pixels.
  func texts() throws(PictureError) -> [PictureMetadata.Entry] {
    var count: UInt32 = 0
    let found = spng_get_text(context, nil, &count)
    if found == Int32(SPNG_ECHUNKAVAIL.rawValue) || (found == 0 && count == 0) { return [] }
    try check(found)
    var texts = [spng_text](repeating: spng_text(), count: Int(count))
    try check(spng_get_text(context, &texts, &count))
    return texts.map { text in
      let value = UnsafeRawBufferPointer(start: text.text, count: text.length)
      let isUTF8 = text.type == Int32(SPNG_ITXT.rawValue)
      return PictureMetadata.Entry(
        key: withUnsafeBytes(of: text.keyword) { latin1($0.prefix { $0 != 0 }) },
        value: isUTF8 ? String(decoding: value, as: UTF8.self) : latin1(value))
    }
  }
}
