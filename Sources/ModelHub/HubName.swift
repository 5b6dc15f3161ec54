import Foundation

/// A repository of models: `owner/name`.
public struct HubRepository: Sendable, Hashable, CustomStringConvertible {
  public let owner: String
  public let name: String

  public var description: String { "\(owner)/\(name)" }

  /// - Throws: ``HubError`` for a name that no repository can have.
  public init(owner: String, name: String) throws(HubError) {
    self.owner = owner
    self.name = name
    guard [owner, name].allSatisfy(Self.isPart), description.utf8.count <= 96 else {
      throw HubError(
        .invalidName,
        "\"\(description)\" is no repository's name; write owner/name, of letters, digits, '-', "
          + "'_' and '.'")
    }
  }

  /// As the hub checks it, and fit for the name of a folder.
  private static func isPart(_ text: String) -> Bool {
    let allowed = text.utf8.allSatisfy {
      switch $0 {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"),
        UInt8(ascii: "."):
        true
      default: false
      }
    }
    let edges: [Character] = ["-", "."]
    return allowed && !text.isEmpty && !edges.contains(text.first!) && !edges.contains(text.last!)
      && !text.contains("--") && !text.contains("..") && !text.hasSuffix(".git")
  }
}

/// One file of a repository at some revision.
public struct HubFile: Sendable, Hashable, CustomStringConvertible {
  public let repository: HubRepository
  /// A path with slashes, from the repository's root.
  public let path: String
  /// A branch, a tag, or a commit.
  public let revision: String

  public var description: String {
    "\(repository)\(revision == HubName.mainRevision ? "" : "@\(revision)")/\(path)"
  }

  /// - Throws: ``HubError`` for a path or a revision that could lead anywhere else.
  public init(
    _ repository: HubRepository, _ path: String, revision: String = HubName.mainRevision
  ) throws(HubError) {
    self.repository = repository
    self.path = path
    self.revision = revision
    guard HubName.isPath(path) else {
      throw HubError(.invalidName, "\"\(path)\" is no path inside \(repository)")
    }
    guard HubName.isPath(revision) else {
      throw HubError(.invalidName, "\"\(revision)\" is no revision of \(repository)")
    }
  }

  /// The same file of one commit.
  func at(commit: String) throws(HubError) -> HubFile {
    try HubFile(repository, path, revision: commit)
  }

  /// Another file beside this one.
  func neighbour(_ name: String) throws(HubError) -> HubFile {
    let folder = path.split(separator: "/").dropLast()
    return try HubFile(
      repository, (folder + [Substring(name)]).joined(separator: "/"), revision: revision)
  }

  /// A name fit for a progress bar.
  public var shortName: String { path.split(separator: "/").last.map(String.init) ?? path }
}

/// What a user may write for a repository or a file in one: `owner/name`, `owner/name/file.pth`,
/// `owner/name@revision/file.pth`, with or without `hf://` before it.
public struct HubName: Sendable, Hashable {
  public static let mainRevision = "main"

  public let repository: HubRepository
  /// Nil where only a repository is named.
  public let file: HubFile?
  public let revision: String

  /// - Throws: ``HubError`` for text that is no such name.
  public init(parsing text: String) throws(HubError) {
    let scheme = "hf://"
    let bare = text.hasPrefix(scheme) ? String(text.dropFirst(scheme.count)) : text
    let parts = bare.split(separator: "/", maxSplits: 2, omittingEmptySubsequences: false)
    guard parts.count >= 2 else {
      throw HubError(.invalidName, "\"\(text)\" names no repository; write owner/name")
    }
    let named = parts[1].split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false)
    revision = named.count == 2 ? String(named[1]) : Self.mainRevision
    repository = try HubRepository(owner: String(parts[0]), name: String(named[0]))
    guard Self.isPath(revision) else {
      throw HubError(.invalidName, "\"\(revision)\" is no revision of \(repository)")
    }
    file = parts.count == 3 ? try HubFile(repository, String(parts[2]), revision: revision) : nil
  }

  /// Whether text is a path that stays below the folder it starts from.
  static func isPath(_ text: String) -> Bool {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    return text.utf8.count <= 1024
      && parts.allSatisfy { part in
        !part.isEmpty && part != "." && part != ".." && part.utf8.count <= 255
          && !part.contains("\\")
          && part.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control }
      }
  }
}
