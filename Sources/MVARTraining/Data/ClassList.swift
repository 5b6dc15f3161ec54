import Pictures

/// The names of the classes, and what each text in a table or a shard stands for.
struct ClassList {
  let names: [String]
  private let indices: [String: Int]
  private let takesNumbers: Bool

  /// What `classes.txt` says, one name a line: the order of the names is the order of the labels.
  init(contentsOf path: String) throws(TrainingError) {
    let bytes: [UInt8]
    do { bytes = try readFile(path, atMost: 16 << 20) } catch {
      throw TrainingError(.data, "\(error)")
    }
    let lines = String(decoding: bytes, as: UTF8.self)
      .split(whereSeparator: \.isNewline).map { $0.trimmed }.filter { !$0.isEmpty }
    guard Set(lines).count == lines.count, !lines.isEmpty else {
      throw .data(
        path, "names a class twice, or none", mend: "write each class once, on its own line")
    }
    self.init(names: lines, takesNumbers: true)
  }

  /// The classes of some labels: whole numbers are indices; other texts are names, in the order of
  /// their bytes.
  ///
  /// - Throws: ``TrainingError`` for an index above 65535.
  init(of labels: some Sequence<String>, in path: String) throws(TrainingError) {
    let distinct = Set(labels)
    if distinct.isEmpty {
      throw .data(path, "names no class", mend: "write the class of each picture into it")
    }
    let numbers = distinct.compactMap { Int($0) }
    if numbers.count == distinct.count, let largest = numbers.max(), numbers.min()! >= 0 {
      guard largest <= 65535 else {
        throw .data(
          path, "the class \(largest) is above 65535",
          mend: "number the classes from 0, or name them")
      }
      self.init(names: (0...largest).map(String.init), takesNumbers: true)
    } else {
      self.init(names: distinct.sorted(by: FolderListing.precedes), takesNumbers: false)
    }
  }

  private init(names: [String], takesNumbers: Bool) {
    self.names = names
    self.takesNumbers = takesNumbers
    indices = Dictionary(uniqueKeysWithValues: names.enumerated().map { ($1, $0) })
  }

  /// The label that a text stands for, a name before an index; nil if it is none.
  func label(_ text: String) -> Int? {
    if let index = indices[text] { return index }
    guard takesNumbers, let number = Int(text), names.indices.contains(number) else { return nil }
    return number
  }
}

extension StringProtocol {
  /// Without white space at both ends.
  var trimmed: String {
    let start = drop { $0.isWhitespace }
    guard let last = start.lastIndex(where: { !$0.isWhitespace }) else { return "" }
    return String(start[...last])
  }
}
