import Foundation

/// Fetches files of models from a hub, and keeps them where Hugging Face's own tools do.
///
///     let hub = ModelHub(try HubSettings())
///     let file = try HubFile(HubRepository(owner: "OliverRen", name: "M-VAR"), "d16.pth")
///     let pulled = try await hub.pull(file) { print($0) }
///
/// Several tasks and processes may pull at once; a file is fetched once.
public struct ModelHub: Sendable {
  public let settings: HubSettings
  public let cache: HubCache

  public init(_ settings: HubSettings) {
    self.settings = settings
    cache = HubCache(settings.cacheFolder)
  }

  /// A file that is here now.
  public struct Pulled: Sendable, Hashable {
    public let file: HubFile
    public let path: String
    /// In bytes.
    public let size: Int
    public let origin: Origin
    /// Whether the server named a digest, and the bytes have it; true of what was here already.
    public let isChecked: Bool
  }

  public enum Origin: Sendable, Hashable {
    /// Fetched now, all of it or what was missing.
    case fetched
    /// Here already, and what the server has.
    case current
    /// Here already; the server could not be asked.
    case unasked
  }

  /// How far a pull has come.
  public enum Event: Sendable, Hashable {
    /// Bytes that are here already, of how many there will be where that is known.
    case started(present: Int, total: Int?)
    /// Bytes that are here now.
    case received(Int)
    /// All bytes are here and their digest is computed.
    case checking
    /// Something failed that may pass.
    case retrying(reason: String, wait: Duration)
    /// Another process fetches the same file.
    case waiting
  }

  /// Brings a file here.
  ///
  /// What is cut short goes on where it stopped, in this call and in a later one. A file takes its name
  /// only when it is whole and has the digest that the server promised. Where the server cannot be
  /// reached, a copy that is here does.
  ///
  /// - Throws: ``HubError``, or `CancellationError` once the task is cancelled; what has come stays.
  public func pull(
    _ file: HubFile, report: @escaping @Sendable (Event) -> Void = { _ in }
  ) async throws -> Pulled {
    let cached = cache.path(of: file)
    if let cached, HubCache.isCommit(file.revision) || settings.isOffline {
      return try here(file, cached, HubCache.isCommit(file.revision) ? .current : .unasked)
    }
    guard !settings.isOffline else {
      throw HubError(
        .offline,
        "\(file) is not in \(cache.folder), and HF_HUB_OFFLINE forbids to fetch it; unset that, or "
          + "pull it on a machine with a network")
    }
    return try await HubClient.with(settings) { client in
      let transfer = Transfer(client: client, cache: cache, file: file, report: report)
      let metadata: HubMetadata
      do { metadata = try await transfer.metadata(isUrgent: cached == nil) } catch let error
        as HubError where error.kind == .connection && cached != nil
      {
        return try here(file, cached!, .unasked)
      }
      let (path, isChecked) = try await transfer.blob(metadata)
      return try here(file, path, isChecked == nil ? .current : .fetched, isChecked ?? true)
    }
  }

  /// The size in bytes that the server tells of a file; nil where it tells none.
  ///
  /// - Throws: ``HubError``, `CancellationError`.
  public func size(of file: HubFile) async throws -> Int? {
    try checkOnline("the size of \(file) cannot be looked up")
    return try await HubClient.with(settings) { client in
      let transfer = Transfer(client: client, cache: cache, file: file, report: { _ in })
      return try await transfer.metadata(isUrgent: true).size
    }
  }

  private func here(_ file: HubFile, _ path: String, _ origin: Origin, _ isChecked: Bool = true)
    throws(HubError) -> Pulled
  {
    var status = stat()
    guard stat(path, &status) == 0 else { throw cache.storage(path, "cannot be read", errno) }
    return Pulled(
      file: file, path: path, size: Int(status.st_size), origin: origin, isChecked: isChecked)
  }

  // MARK: What there is

  /// A file as the hub lists it.
  public struct Listed: Sendable, Hashable {
    public let path: String
    /// In bytes.
    public let size: Int
  }

  /// The files of a repository.
  ///
  /// - Throws: ``HubError``, `CancellationError`.
  public func files(
    of repository: HubRepository, revision: String = HubName.mainRevision,
    report: @escaping @Sendable (Event) -> Void = { _ in }
  ) async throws -> [Listed] {
    try checkOnline("the files of \(repository) cannot be listed")
    struct Entry: Decodable {
      let type: String
      let path: String
      let size: Int?
    }
    let address =
      "\(settings.endpoint)/api/models/\(repository)/tree/\(HubAddress.quoted(revision, slash: false))"
      + "?recursive=true"
    return try await HubClient.with(settings) { client in
      let entries: [Entry] = try await client.list(address, of: repository, report: report)
      return entries.filter { $0.type == "file" }.map { Listed(path: $0.path, size: $0.size ?? 0) }
    }
  }

  /// The licence that a repository's card names, such as "mit"; nil where it names none.
  ///
  /// - Throws: ``HubError``, `CancellationError`.
  public func licence(
    of repository: HubRepository, report: @escaping @Sendable (Event) -> Void = { _ in }
  ) async throws -> String? {
    try checkOnline("the licence of \(repository) cannot be looked up")
    struct Model: Decodable {
      let tags: [String]?
    }
    return try await HubClient.with(settings) { client in
      let address = "\(settings.endpoint)/api/models/\(repository)"
      let (model, _): (Model, _) = try await client.json(address, of: repository, report: report)
      let prefix = "license:"
      return model.tags?.first { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.count)) }
    }
  }

  private func checkOnline(_ what: String) throws(HubError) {
    guard !settings.isOffline else {
      throw HubError(.offline, "\(what), as HF_HUB_OFFLINE is set; unset it")
    }
  }
}

/// Addresses on a hub.
enum HubAddress {
  static func file(_ file: HubFile, endpoint: String) -> String {
    "\(endpoint)/\(file.repository)/resolve/\(quoted(file.revision, slash: false))/\(quoted(file.path))"
  }

  /// Text with all but unreserved characters escaped, and slashes too unless they part a path.
  static func quoted(_ text: String, slash: Bool = true) -> String {
    let unreserved = Set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~".utf8)
    return text.utf8.map { byte in
      if unreserved.contains(byte) || (slash && byte == UInt8(ascii: "/")) {
        return String(UnicodeScalar(byte))
      }
      let digits = String(byte, radix: 16, uppercase: true)
      return byte < 16 ? "%0\(digits)" : "%\(digits)"
    }.joined()
  }
}
