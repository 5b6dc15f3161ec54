import Pictures

/// A table of comma-separated values (RFC 4180): which file is of which class.
///
/// The first row names the columns: `file` (or `path`, `filename`), `class` (or `label`) and, if there
/// is one, `split`; other columns are left alone. A row whose class is empty is of no class. Without such a row the first two columns are file and
/// class. Read by hand because the packaged reader brings a resource bundle that would have to be
/// installed beside the program, and goes through a million rows by the character.
struct LabelTable {
  struct Row {
    let file: String
    let name: String
    let split: String?
    /// From 1, as editors count.
    let line: Int
  }

  let rows: [Row]

  /// - Throws: ``TrainingError`` naming the file and the line.
  init(_ path: String) throws(TrainingError) {
    let bytes: [UInt8]
    do { bytes = try readFile(path, atMost: 1 << 30) } catch {
      throw TrainingError(.data, "\(error)")
    }
    var records = try Self.records(bytes, path)
    guard let first = records.first else {
      throw .data(path, "the table is empty", mend: "write a line \"file,class\" for each picture")
    }
    let titles = first.fields.map { $0.lowercased() }
    var columns = (file: 0, name: 1, split: titles.firstIndex(of: "split"))
    let file = titles.firstIndex { ["file", "path", "filename", "image"].contains($0) }
    let name = titles.firstIndex { ["class", "label", "class_name"].contains($0) }
    if let file, let name {
      columns = (file, name, columns.split)
      records.removeFirst()
    } else {
      columns.split = nil
    }
    var rows: [Row] = []
    rows.reserveCapacity(records.count)
    for record in records {
      let fields = record.fields
      guard fields.count > max(columns.file, columns.name), !fields[columns.file].isEmpty else {
        throw .data(
          path, "line \(record.line) has no file and class (\(fields.joined(separator: ",")))",
          mend: "write them with a comma between")
      }
      rows.append(
        Row(
          file: fields[columns.file], name: fields[columns.name],
          split: columns.split.flatMap { $0 < fields.count ? fields[$0] : nil },
          line: record.line))
    }
    self.rows = rows
  }

  private static func records(_ bytes: [UInt8], _ path: String) throws(TrainingError) -> [(
    fields: [String], line: Int
  )] {
    var records: [(fields: [String], line: Int)] = []
    var (fields, field): ([String], [UInt8]) = ([], [])
    var (line, start, isQuoted) = (1, 1, false)
    func text(_ bytes: [UInt8]) throws(TrainingError) -> String {
      guard let text = String(validating: bytes, as: UTF8.self) else {
        throw .data(path, "line \(line) is not UTF-8", mend: "save it as UTF-8")
      }
      return text
    }
    func endRecord() throws(TrainingError) {
      if !fields.isEmpty || !field.isEmpty {
        records.append((fields + [try text(field)], start))
      }
      (fields, field) = ([], [])
    }
    let mark: [UInt8] = [0xEF, 0xBB, 0xBF]
    var at = bytes.starts(with: mark) ? mark.count : 0
    while at < bytes.count {
      let byte = bytes[at]
      at += 1
      if byte == UInt8(ascii: "\n") { line += 1 }
      if isQuoted {
        if byte != UInt8(ascii: "\"") {
          field.append(byte)
        } else if at < bytes.count, bytes[at] == byte {
          field.append(byte)
          at += 1
        } else {
          isQuoted = false
        }
      } else if byte == UInt8(ascii: "\""), field.isEmpty {
        isQuoted = true
      } else if byte == UInt8(ascii: ",") {
        fields.append(try text(field))
        field = []
      } else if byte == UInt8(ascii: "\n") {
        try endRecord()
        start = line
      } else if byte != UInt8(ascii: "\r") {
        field.append(byte)
      }
    }
    if isQuoted {
      throw .data(path, "the quotation mark in line \(start) is not closed", mend: "close it")
    }
    try endRecord()
    return records
  }
}
