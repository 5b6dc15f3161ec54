import Foundation
import MVAR

/// Sees to it, before anything is computed, that no file which will be written replaces one that is read, or another that will be
/// written.
struct OutputCheck {
  private var read: [Files.Identity: String] = [:]
  /// Folders that are searched for pictures: their own paths, and how they were named.
  private var folders: [(path: String, name: String)] = []
  private var written: [Files.Place: String] = [:]

  /// - Parameter sources: Files that are read, and folders whose pictures are.
  init(reading sources: [String]) {
    for source in sources {
      guard !Files.isFolder(source) else {
        folders += Files.realPath(source).map { [($0, source)] } ?? []
        continue
      }
      if let identity = Files.identity(source) { read[identity] = source }
    }
  }

  /// - Parameters:
  ///   - file: Nil or "-" for no file.
  ///   - option: Which option names it, for the message.
  /// - Throws: ``UsageError`` where the file is read or written already.
  mutating func add(_ file: String?, _ option: String) throws(UsageError) {
    guard let file, file != "-", !Files.isDevice(file) else { return }
    if let source = Files.identity(file).flatMap({ read[$0] }) ?? folder(with: file) {
      throw UsageError("\(file) would replace \(source), which is read; choose another \(option)")
    }
    if let other = written.updateValue(option, forKey: Files.Place(file)) {
      throw UsageError(
        other == option
          ? "\(file) would be written twice; choose another \(option)"
          : "\(file) would be written by both \(other) and \(option); name two files")
    }
  }

  /// The folder of which the file is a picture that is there.
  private func folder(with file: String) -> String? {
    let ending = file.split(separator: ".").last?.lowercased() ?? ""
    guard ["png", "jpg", "jpeg", "webp"].contains(ending), let path = Files.realPath(file) else {
      return nil
    }
    let found = folders.first { path.hasPrefix(Files.join($0.path, "")) }
    return found.map { "a picture of \($0.name)" }
  }
}

extension Checkpoint {
  /// The file and, of an index, its shards.
  var filesRead: [String] { Set(tensors.map(\.storage.file) + [file]).sorted() }
}
