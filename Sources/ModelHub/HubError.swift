/// What went wrong between here and a hub, in one line that names the thing and the mend.
public struct HubError: Error, Equatable, Sendable, CustomStringConvertible {
  public enum Kind: Sendable {
    /// A name, a revision or a setting that cannot be one.
    case invalidName
    /// No such repository, revision or file.
    case notFound
    /// There, but not for this user.
    case refused
    /// Not here, and the network is not to be used.
    case offline
    /// The server cannot be reached, or keeps breaking off.
    case connection
    /// The server answers, but not as a hub does.
    case server
    /// The bytes are not those that the server promised.
    case damaged
    /// The cache cannot be read or written.
    case storage
  }

  public let kind: Kind
  public let description: String

  public init(_ kind: Kind, _ description: String) {
    self.kind = kind
    // Servers' own words may have line ends.
    self.description = description.split(whereSeparator: \.isNewline).joined(separator: " ")
  }
}
