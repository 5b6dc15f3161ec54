import Foundation

/// Files on this machine, laid out as Hugging Face's own tools do it and read it:
///
///     models--owner--name/blobs/<digest>
///     models--owner--name/snapshots/<commit>/d16.pth → ../../blobs/<digest>
///     models--owner--name/refs/main
///     .locks/models--owner--name/<digest>.lock
public struct HubCache: Sendable {
  public let folder: String

  public init(_ folder: String) { self.folder = folder }

  /// A file that is here.
  public struct Entry: Sendable, Hashable {
    public let file: HubFile
    public let path: String
    public let size: Int
  }

  // MARK: Places

  func folder(of repository: HubRepository) -> String {
    "\(folder)/\(Self.folderName(repository))"
  }

  static func folderName(_ repository: HubRepository) -> String {
    "models--\(repository.owner)--\(repository.name)"
  }

  func blob(_ digest: String, of repository: HubRepository) -> String {
    "\(folder(of: repository))/blobs/\(digest)"
  }

  /// Where a blob grows until it is whole.
  func partialBlob(_ digest: String, of repository: HubRepository) -> String {
    "\(blob(digest, of: repository)).incomplete"
  }

  func lock(_ digest: String, of repository: HubRepository) -> String {
    "\(folder)/.locks/\(Self.folderName(repository))/\(digest).lock"
  }

  func snapshot(_ commit: String, _ file: HubFile) -> String {
    "\(folder(of: file.repository))/snapshots/\(commit)/\(file.path)"
  }

  private func reference(_ revision: String, of repository: HubRepository) -> String {
    "\(folder(of: repository))/refs/\(revision)"
  }

  // MARK: Looking

  /// Where a file lies, if it is here; of a branch, as it was when it was last fetched.
  public func path(of file: HubFile) -> String? {
    guard let commit = commit(of: file) else { return nil }
    let path = snapshot(commit, file)
    return access(path, R_OK) == 0 ? path : nil
  }

  /// The commit that a revision stood for when it was last looked up.
  func commit(of file: HubFile) -> String? {
    if Self.isCommit(file.revision) { return file.revision }
    let path = reference(file.revision, of: file.repository)
    let text = try? String(contentsOfFile: path, encoding: .utf8)
    let commit = text?.trimmingCharacters(in: .whitespacesAndNewlines)
    return commit.flatMap { Self.isCommit($0) ? $0 : nil }
  }

  static func isCommit(_ text: String) -> Bool { text.count == 40 && isHexadecimal(text) }

  static func isHexadecimal(_ text: String) -> Bool {
    text.utf8.allSatisfy {
      (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
        || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
    }
  }

  /// All files here whose blobs are whole, by repository and path; those of a branch's last commit
  /// under the branch's name.
  public func entries() -> [Entry] {
    children(folder).filter { $0.hasPrefix("models--") }.sorted().flatMap { name -> [Entry] in
      let parts = name.dropFirst("models--".count).split(
        separator: "-", omittingEmptySubsequences: false)
      guard let repository = Self.repository(parts.joined(separator: "-")) else { return [] }
      return entries(of: repository)
    }
  }

  private static func repository(_ text: String) -> HubRepository? {
    guard let dashes = text.range(of: "--") else { return nil }
    return try? HubRepository(
      owner: String(text[..<dashes.lowerBound]), name: String(text[dashes.upperBound...]))
  }

  private func entries(of repository: HubRepository) -> [Entry] {
    let root = "\(folder(of: repository))/snapshots"
    let revisions = references(of: repository)
    return children(root).sorted().flatMap { commit -> [Entry] in
      let base = "\(root)/\(commit)"
      let paths = FileManager.default.enumerator(atPath: base)?.compactMap { $0 as? String } ?? []
      return paths.sorted().compactMap { path in
        var status = stat()
        // Follows links, so that one that leads nowhere is left out.
        guard stat("\(base)/\(path)", &status) == 0, status.st_mode & S_IFMT == S_IFREG,
          let file = try? HubFile(repository, path, revision: revisions[commit] ?? commit)
        else { return nil }
        return Entry(file: file, path: "\(base)/\(path)", size: Int(status.st_size))
      }
    }
  }

  /// Revisions by the commits that they stand for.
  private func references(of repository: HubRepository) -> [String: String] {
    let base = "\(folder(of: repository))/refs"
    let names = FileManager.default.enumerator(atPath: base)?.compactMap { $0 as? String } ?? []
    return names.sorted(by: >).reduce(into: [:]) { found, name in
      let text = try? String(contentsOfFile: "\(base)/\(name)", encoding: .utf8)
      if let commit = text?.trimmingCharacters(in: .whitespacesAndNewlines) {
        found[commit] = name
      }
    }
  }

  /// Bytes of blobs that are not whole yet.
  public func partialBytes(of repository: HubRepository) -> Int {
    let base = "\(folder(of: repository))/blobs"
    return children(base).filter { $0.hasSuffix(".incomplete") }.reduce(0) { sum, name in
      var status = stat()
      return stat("\(base)/\(name)", &status) == 0 ? sum + Int(status.st_size) : sum
    }
  }

  private func children(_ path: String) -> [String] {
    (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
  }

  // MARK: Keeping

  /// Makes the folder that a path lies in.
  func makeFolder(of path: String) throws(HubError) {
    let parent = path.split(separator: "/", omittingEmptySubsequences: false).dropLast()
      .joined(separator: "/")
    do {
      try FileManager.default.createDirectory(atPath: parent, withIntermediateDirectories: true)
    } catch {
      throw storage(parent, "cannot be made", errno)
    }
  }

  /// Names a whole blob as a file of a commit, and the commit as what a revision stands for.
  ///
  /// - Returns: The file's path.
  func publish(_ digest: String, as file: HubFile, commit: String) throws(HubError) -> String {
    let path = snapshot(commit, file)
    try makeFolder(of: path)
    let depth = file.path.split(separator: "/").count + 1
    let target = String(repeating: "../", count: depth) + "blobs/\(digest)"
    try replace(path) { temporary in
      // Some disks know no symbolic links, and some no links at all: there the blob itself moves in.
      let blob = blob(digest, of: file.repository)
      return symlink(target, temporary) == 0 || link(blob, temporary) == 0
        || rename(blob, temporary) == 0
    }
    if file.revision != commit { try remember(commit, as: file.revision, of: file.repository) }
    return path
  }

  private func remember(_ commit: String, as revision: String, of repository: HubRepository)
    throws(HubError)
  {
    let path = reference(revision, of: repository)
    if (try? String(contentsOfFile: path, encoding: .utf8)) == commit { return }
    try makeFolder(of: path)
    try replace(path) { temporary in
      FileManager.default.createFile(atPath: temporary, contents: Data(commit.utf8))
    }
  }

  /// Makes something under another name and then gives it its own at once.
  private func replace(_ path: String, _ make: (String) -> Bool) throws(HubError) {
    let temporary = "\(path).\(String(UInt32.random(in: 0...UInt32.max), radix: 36)).tmp"
    guard make(temporary) else { throw storage(path, "cannot be written", errno) }
    guard rename(temporary, path) == 0 else {
      let code = errno
      unlink(temporary)
      throw storage(path, "cannot be written", code)
    }
  }

  /// Bytes that can still be written here; nil where the system does not tell.
  func freeBytes(at path: String) -> Int? {
    var status = statvfs()
    guard statvfs(path, &status) == 0 else { return nil }
    return Int(status.f_bavail) * Int(status.f_frsize)
  }

  func storage(_ path: String, _ what: String, _ code: Int32) -> HubError {
    let mend =
      switch code {
      case ENOSPC, EDQUOT: "make room, or set HF_HOME to a folder on another disk"
      default: "set HF_HOME to a folder that you may write to"
      }
    return HubError(.storage, "\(path) \(what) (\(String(cString: strerror(code)))); \(mend)")
  }
}
