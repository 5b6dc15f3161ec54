/// Short texts that travel inside a picture file: keys and values, in order.
///
/// ```swift
/// let metadata: PictureMetadata = ["Software": "mvar", "Title": "golden retriever"]
/// ```
public struct PictureMetadata: Sendable, Equatable, ExpressibleByDictionaryLiteral {
  /// A key, which a file may hold more than once, and its value.
  public struct Entry: Sendable, Hashable {
    /// 1 to 79 Latin letters, where PNG is to hold it.
    public var key: String
    /// Any text that is not empty.
    public var value: String

    /// An entry from its parts.
    public init(key: String, value: String) {
      self.key = key
      self.value = value
    }
  }

  /// The texts, in the order of the file.
  public var entries: [Entry]

  /// Texts in this order; none unless told.
  public init(_ entries: [Entry] = []) {
    self.entries = entries
  }

  /// Texts in the order of the literal, which may repeat a key.
  public init(dictionaryLiteral elements: (String, String)...) {
    entries = elements.map { Entry(key: $0.0, value: $0.1) }
  }

  /// The value of the first entry with this key.
  public subscript(key: String) -> String? {
    entries.first { $0.key == key }?.value
  }

  /// Reads the texts of a PNG (`tEXt`, `zTXt` and `iTXt` chunks) without decoding its pixels; other
  /// formats give none.
  ///
  /// - Throws: ``PictureError`` where the file cannot be read, is no picture, or is a PNG that ends
  ///   early or is damaged outside its pixels.
  public init(contentsOf path: String, limits: PictureLimits = PictureLimits())
    throws(PictureError)
  {
    try self.init(data: readFile(path, atMost: limits.bytes), name: path)
  }

  /// Reads the texts of a PNG from its bytes; `name` stands for them in errors.
  ///
  /// - Throws: ``PictureError`` where they are no picture, or a PNG that ends early or is damaged
  ///   outside its pixels.
  public init(data: [UInt8], name: String) throws(PictureError) {
    switch try Container(of: data, name: name) {
    case .png: entries = try PNG.texts(data, name: name)
    case .jpeg, .webp: entries = []
    }
  }
}
