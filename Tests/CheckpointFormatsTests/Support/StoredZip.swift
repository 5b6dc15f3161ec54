import CheckpointFormats

/// Reads zip files whose records are stored without compression, as `torch.save` writes them.
struct StoredZip: ArchiveReader {
  struct Record {
    let name: String
    let isCompressed: Bool
    let offset: Int
    let count: Int
  }

  struct NoRecord: Error {}

  let bytes: [UInt8]
  let records: [Record]

  init(_ bytes: [UInt8]) throws {
    let number = { (place: Int, width: Int) in
      bytes[place..<place + width].reversed().reduce(0) { $0 << 8 | Int($1) }
    }
    guard let end = bytes.indices.last(where: { bytes[$0...].starts(with: [0x50, 0x4B, 5, 6]) })
    else { throw NoRecord() }
    var place = number(end + 16, 4)
    var records: [Record] = []
    for _ in 0..<number(end + 10, 2) {
      let nameCount = number(place + 28, 2)
      let local = number(place + 42, 4)
      records.append(
        Record(
          name: String(decoding: bytes[place + 46..<place + 46 + nameCount], as: UTF8.self),
          isCompressed: number(place + 10, 2) != 0,
          offset: local + 30 + number(local + 26, 2) + number(local + 28, 2),
          count: number(place + 24, 4)))
      place += 46 + nameCount + number(place + 30, 2) + number(place + 32, 2)
    }
    self.bytes = bytes
    self.records = records
  }

  var recordNames: [String] { records.map(\.name) }

  func record(_ name: String) throws -> [UInt8] {
    let record = try find(name)
    return Array(bytes[record.offset..<record.offset + record.count])
  }

  func location(of name: String) throws -> (offset: Int, count: Int)? {
    let record = try find(name)
    return record.isCompressed ? nil : (record.offset, record.count)
  }

  private func find(_ name: String) throws -> Record {
    guard let record = records.first(where: { $0.name == name }) else { throw NoRecord() }
    return record
  }
}
