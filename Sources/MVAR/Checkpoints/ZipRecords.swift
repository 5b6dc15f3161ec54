import CheckpointFormats
import Torch

/// Lets the reader of `.pth` files use libtorch's reader of zip archives.
struct ZipRecords: ArchiveReader {
  private let archive: TorchArchive
  private let file: MappedFile

  init(_ path: String) throws {
    archive = try TorchArchive(path)
    file = try MappedFile(path)
  }

  var recordNames: [String] { archive.recordNames }

  func record(_ name: String) throws -> [UInt8] { try archive.bytes(of: name) }

  func location(of name: String) throws -> (offset: Int, count: Int)? {
    let (offset, count) = (try archive.offset(of: name), try archive.size(of: name))
    return try isStored(name, at: offset) ? (offset, count) : nil
  }

  /// Whether a record's bytes stand in the file as they are: libtorch tells where they begin, and the
  /// header before them says how they are packed.
  private func isStored(_ name: String, at offset: Int) throws -> Bool {
    let reach = min(offset, 30 + 512 + 1 << 16)
    let bytes = try file.bytes(at: offset - reach, count: reach)
    func word(_ at: Int) -> Int { Int(bytes[at]) | Int(bytes[at + 1]) << 8 }
    for start in stride(from: reach - 30, through: 0, by: -1)
    where bytes[start...].starts(with: [0x50, 0x4B, 3, 4]) {
      if start + 30 + word(start + 26) + word(start + 28) == reach { return word(start + 8) == 0 }
    }
    return false
  }
}
