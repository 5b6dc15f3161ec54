import CheckpointFormats

/// An archive that is only a dictionary: each storage has a size and no bytes.
struct MemoryArchive: ArchiveReader {
  struct NoRecord: Error {}

  var records: [String: [UInt8]]
  var compressed: Set<String> = []
  /// Where some records are said to be, instead of where they are.
  var places: [String: (Int, Int)] = [:]

  /// An archive of one pickle, and storages by key and size.
  init(_ pickle: [UInt8], storages: [String: Int] = [:], prefix: String = "") {
    records = [prefix + "data.pkl": pickle]
    for (key, count) in storages {
      records["\(prefix)data/\(key)"] = [UInt8](repeating: 0, count: count)
    }
  }

  var recordNames: [String] { records.keys.sorted() }

  func record(_ name: String) throws -> [UInt8] {
    guard let record = records[name] else { throw NoRecord() }
    return record
  }

  func location(of name: String) throws -> (offset: Int, count: Int)? {
    if let place = places[name] { return place }
    return try compressed.contains(name) ? nil : (64, record(name).count)
  }
}
