/// What a server tells about a file before it sends it.
struct HubMetadata {
  let commit: String
  /// The blob's name: its digest, where the server is a hub.
  let digest: String
  /// In bytes, where the server tells.
  let size: Int?

  /// - Throws: ``HubError`` where headers lack what a hub sends.
  init(_ headers: HubHeaders, of file: HubFile, endpoint: String) throws(HubError) {
    func missing(_ what: String) -> HubError {
      HubError(
        .server,
        "\(endpoint) sends no \(what) for \(file); check that HF_ENDPOINT is a Hugging Face server")
    }
    guard let commit = headers.commit, HubCache.isCommit(commit) else {
      throw missing("commit (X-Repo-Commit)")
    }
    guard let tag = headers.entityTag.flatMap(Self.normalized) else { throw missing("ETag") }
    guard Self.isName(tag) else {
      throw HubError(.server, "\(endpoint) sends an ETag for \(file) that can name no file: \(tag)")
    }
    (self.commit, digest, size) = (commit, tag, headers.size)
  }

  /// An ETag without its quotes, and without what marks it as weak.
  private static func normalized(_ tag: String) -> String? {
    var text = tag[...]
    if text.hasPrefix("W/") { text = text.dropFirst(2) }
    if text.hasPrefix("\""), text.hasSuffix("\""), text.count >= 2 {
      text = text.dropFirst().dropLast()
    }
    return text.isEmpty ? nil : String(text)
  }

  private static func isName(_ text: String) -> Bool {
    HubName.isPath(text) && !text.contains("/") && text.utf8.count <= 200 && !text.hasPrefix(".")
      && !text.hasSuffix(".incomplete")
  }
}

/// The headers that count, of an answer and of those that led to it.
struct HubHeaders {
  var commit: String?
  var entityTag: String?
  var size: Int?
}
