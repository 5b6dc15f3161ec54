import CArchive
import Foundation
import Pictures

/// A tar file with the names of WebDataset: what shares a name up to the first dot belongs together.
///
/// libarchive reads the headers (ustar, PAX, GNU); where each member's bytes begin is kept, so that
/// pictures can then be read in any order, by any thread.
struct TarShard {
  struct Member {
    let name: String
    let offset: Int
    let count: Int
  }

  /// A picture and the text of its class.
  struct Labelled {
    let location: PictureDataSet.Location
    let label: String
  }

  let path: String
  let members: [Member]

  /// - Throws: ``TrainingError`` where the file cannot be read, is no tar file, or ends early.
  init(_ path: String) throws(TrainingError) {
    self.path = path
    let archive = archive_read_new()!
    defer { archive_read_free(archive) }
    archive_read_support_format_tar(archive)
    func damaged() -> TrainingError {
      let reason = archive_error_string(archive).map { String(cString: $0) } ?? "unknown"
      return .data(
        path, "cannot be read as a tar file (\(reason))",
        mend: "fetch it again, or make it with `tar --format=pax`")
    }
    guard archive_read_open_filename(archive, path, 1 << 20) == ARCHIVE_OK else { throw damaged() }
    let size = try Self.size(path)
    var members: [Member] = []
    var entry: OpaquePointer?
    loop: while true {
      switch archive_read_next_header(archive, &entry) {
      case ARCHIVE_EOF: break loop
      case ARCHIVE_OK, ARCHIVE_WARN: break
      default: throw damaged()
      }
      guard archive_entry_filetype(entry) & 0o170000 == 0o100000, let name = Self.name(entry) else {
        continue
      }
      // After a header the reader stands at the first byte of its data.
      let offset = Int(archive_filter_bytes(archive, -1))
      let count = Int(archive_entry_size(entry))
      // A damaged header may claim more bytes than a sum can hold.
      guard count >= 0, count <= size - offset else {
        throw .data(path, "ends inside \(name)", mend: "fetch it again")
      }
      members.append(Member(name: name, offset: offset, count: count))
    }
    self.members = members
  }

  private static func size(_ path: String) throws(TrainingError) -> Int {
    var status = stat()
    guard stat(path, &status) == 0 else {
      throw .data(
        path, "cannot be read (\(String(cString: strerror(errno))))", mend: "check the path")
    }
    return Int(status.st_size)
  }

  private static func name(_ entry: OpaquePointer?) -> String? {
    guard let name = archive_entry_pathname_utf8(entry) ?? archive_entry_pathname(entry) else {
      return nil
    }
    let text = String(cString: name)
    return text.hasPrefix("./") ? String(text.dropFirst(2)) : text
  }

  /// The pictures, each with its class.
  ///
  /// - Throws: ``TrainingError`` for a picture without a class where they are wanted.
  func pictures(labelled: Bool) throws(TrainingError) -> [Labelled] {
    var labels: [String: Member] = [:]
    if labelled {
      for ending in ["json", "txt", "cls"] {
        for member in members where member.name.ending == ending {
          labels[Self.key(member.name)] = member
        }
      }
    }
    let file = labelled ? try RandomAccessFile(path) : nil
    var pictures: [Labelled] = []
    for member in members where member.name.namesPicture {
      var label = ""
      if let file {
        guard let note = labels[Self.key(member.name)] else {
          throw .data(
            "\(path):\(member.name)", "has no class",
            mend: "put \(Self.key(member.name)).cls beside it, with the class's number or name")
        }
        label = try Self.label(try file.bytes(note.offset, note.count), note.name, path)
      }
      let location = PictureDataSet.Location.member(
        shard: path, name: member.name, offset: member.offset, count: member.count)
      pictures.append(Labelled(location: location, label: label))
    }
    return pictures
  }

  /// The name up to the first dot of its last part.
  private static func key(_ name: String) -> String {
    let start = name.lastIndex(of: "/").map { name.index(after: $0) } ?? name.startIndex
    return String(name[..<(name[start...].firstIndex(of: ".") ?? name.endIndex)])
  }

  /// The class in a `.cls` or `.txt` (all of it) or a `.json` (its "class", "label", "cls" or "class_name").
  private static func label(_ bytes: [UInt8], _ name: String, _ path: String) throws(TrainingError)
    -> String
  {
    let text = String(decoding: bytes, as: UTF8.self).trimmed
    guard name.ending == "json" else {
      if text.isEmpty {
        throw .data("\(path):\(name)", "is empty", mend: "write the class into it")
      }
      return text
    }
    let object = (try? JSONSerialization.jsonObject(with: Data(bytes))) as? [String: Any]
    for key in ["class_name", "class", "label", "cls"] {
      if let text = object?[key] as? String { return text }
      if let number = object?[key] as? Int { return String(number) }
    }
    throw .data(
      "\(path):\(name)", "is no object with a \"class\" or \"label\"", mend: "write {\"label\": 3}")
  }
}

/// A file read at any place by any thread.
final class RandomAccessFile: Sendable {
  private let path: String
  private let descriptor: Int32

  init(_ path: String) throws(TrainingError) {
    self.path = path
    descriptor = open(path, O_RDONLY | O_CLOEXEC)
    if descriptor < 0 {
      let reason = errno
      guard mendOfTooManyOpenFiles(reason) == nil else { throw .openFiles(path, reason) }
      throw .data(
        path, "cannot be read (\(String(cString: strerror(reason))))", mend: "check the path")
    }
  }

  deinit { close(descriptor) }

  /// - Throws: ``TrainingError`` where the file is shorter.
  func bytes(_ offset: Int, _ count: Int) throws(TrainingError) -> [UInt8] {
    var failure: String?
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
      filled = 0
      while filled < count {
        let step = pread(
          descriptor, buffer.baseAddress! + filled, count - filled, off_t(offset + filled))
        if step < 0, errno == EINTR { continue }
        if step <= 0 {
          failure = step < 0 ? String(cString: strerror(errno)) : "it ends early"
          return
        }
        filled += step
      }
    }
    if let failure { throw .data(path, "cannot be read (\(failure))", mend: "check the disk") }
    return bytes
  }
}
