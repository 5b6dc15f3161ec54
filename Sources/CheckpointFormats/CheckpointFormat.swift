/// The formats that checkpoints come in, told apart by their first bytes and never by their names.
public enum CheckpointFormat: Sendable, CaseIterable {
  /// A zip archive, to be opened with ``PyTorchArchive``.
  case pyTorch
  /// A row of pickles and bytes, as `torch.save` wrote before PyTorch 1.6; to be opened with
  /// ``PyTorchArchive/init(oldFile:)``.
  case oldPyTorch
  /// A safetensors file, to be opened with ``SafetensorsFile``.
  case safetensors
  /// The index of several safetensors files, to be opened with ``SafetensorsIndex``.
  case safetensorsIndex

  /// The format of a file.
  ///
  /// - Throws: ``CheckpointFormatError`` if the file cannot be read or is something else; the error says what it seems
  ///   to be and what to do about it.
  public init(ofFile path: String) throws(CheckpointFormatError) {
    let file = try InputFile(path)
    guard file.size > 0 else { throw Self.failedDownload(path, "is empty") }
    let head = try file.bytes(at: 0, count: min(file.size, 512))
    if head.starts(with: "PK\u{3}\u{4}".utf8) {
      try Self.checkZipEnd(file)
      self = .pyTorch
    } else if OldPyTorchFile.begins(head) {
      self = .oldPyTorch
    } else if Self.looksLikeSafetensors(head) {
      self = .safetensors
    } else if Self.text(head).hasPrefix("{") {
      self = .safetensorsIndex
    } else {
      throw Self.unsupported(path, head)
    }
  }
}

extension CheckpointFormat {
  /// A zip file's directory is at its end, which a download that broke off does not have.
  private static func checkZipEnd(_ file: InputFile) throws(CheckpointFormatError) {
    let count = min(file.size, 22 + 65_535)
    let tail = try file.bytes(at: file.size - count, count: count)
    let mark: [UInt8] = [0x50, 0x4B, 0x05, 0x06]
    for start in stride(from: tail.count - 22, through: 0, by: -1)
    where tail[start...].starts(with: mark) {
      return
    }
    throw failedDownload(
      file.path, "is the beginning of a PyTorch checkpoint, cut off at \(file.size) bytes")
  }

  /// Eight bytes of length and the brace that begins the header.
  private static func looksLikeSafetensors(_ head: [UInt8]) -> Bool {
    guard head.count >= 9, head[8] == UInt8(ascii: "{") else { return false }
    let size = head.prefix(8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    return size <= UInt64(SafetensorsHeader.sizeLimit)
  }

  /// The beginning as text in lower case, without white space or a byte order mark in front.
  private static func text(_ head: [UInt8]) -> String {
    let text = String(decoding: head, as: UTF8.self).lowercased()
    return String(text.drop { $0.isWhitespace || $0 == "\u{FEFF}" })
  }

  private static func unsupported(_ path: String, _ head: [UInt8]) -> CheckpointFormatError {
    let text = text(head)
    if text.hasPrefix("<") {
      return CheckpointFormatError(
        .malformed, file: path, "is a web page, not a checkpoint",
        mend: "the page was downloaded instead of the file, fetch the file itself")
    }
    if text.hasPrefix("version https://git-lfs") {
      let problem = "is a git-LFS pointer, not the checkpoint itself"
      return CheckpointFormatError(
        .unsupported, file: path, problem, mend: "run git lfs pull, or download the file")
    }
    let (what, mend) = Self.look(head)
    return CheckpointFormatError(.unsupported, file: path, what, mend: mend)
  }

  private static func look(_ head: [UInt8]) -> (what: String, mend: String) {
    if head[0] == 0x80, head.count > 1, (2...5).contains(head[1]) {
      return (
        "is a pickle, but none that torch.save wrote",
        "load it in Python and save its tensors with torch.save"
      )
    }
    if let kind = packed(head) { return ("is \(kind)", "unpack it first") }
    if let kind = foreign(head) { return ("is \(kind), not a checkpoint", nameOne) }
    let first = head.prefix(4).map { "0x" + String($0, radix: 16) }.joined(separator: " ")
    return ("begins with \(first), as no checkpoint does", nameOne)
  }

  private static let nameOne = "name a .pth or .safetensors file"

  private static func packed(_ head: [UInt8]) -> String? {
    if head.starts(with: [0x1F, 0x8B]) { return "compressed with gzip" }
    if head.starts(with: [0x28, 0xB5, 0x2F, 0xFD]) { return "compressed with zstd" }
    if head.dropFirst(257).starts(with: "ustar".utf8) { return "a tar archive" }
    return nil
  }

  /// Kinds of file that are easily named by mistake.
  private static func foreign(_ head: [UInt8]) -> String? {
    if head.starts(with: [0x89, 0x50, 0x4E, 0x47]) { return "a PNG picture" }
    if head.starts(with: [0xFF, 0xD8, 0xFF]) { return "a JPEG picture" }
    if head.starts(with: "GGUF".utf8) { return "a GGUF model" }
    if head.starts(with: [0x7F, 0x45, 0x4C, 0x46]) { return "a program" }
    return isText(head) ? "text" : nil
  }

  private static func isText(_ head: [UInt8]) -> Bool {
    // Where there is more to come, the beginning may stop in the middle of a character.
    let cuts = head.count < 512 ? 0...0 : 0...3
    let texts = cuts.lazy.compactMap { String(validating: head.dropLast($0), as: UTF8.self) }
    guard let text = texts.first else { return false }
    return text.unicodeScalars.allSatisfy {
      $0.properties.generalCategory != .control || $0.properties.isWhitespace
    }
  }

  private static func failedDownload(_ path: String, _ problem: String) -> CheckpointFormatError {
    CheckpointFormatError(
      .malformed, file: path, problem, mend: "the download failed, fetch it again")
  }
}
