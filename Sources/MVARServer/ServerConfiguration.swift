/// How a server listens, and what it lets clients do.
public struct ServerConfiguration: Sendable {
  /// The address to listen at. Others than this machine itself reach it only at a wider one.
  public var host = "127.0.0.1"
  /// 0 for any that is free.
  public var port = 8080
  /// What clients must present; needed to listen wider than this machine.
  public var token: AccessToken?
  /// Names besides its own that the server answers for.
  public var allowedHosts: Set<String> = []
  /// Sites whose pages may use the server, such as `https://example.org`.
  public var allowedOrigins: Set<String> = []
  /// Pictures of one request.
  public var maxCount = 16
  /// Bytes of a request's body.
  public var maxBody = 20 << 20
  /// Pixels of a picture that is edited, and of its margins. Finishing it takes 16 bytes a pixel for a
  /// moment; pictures for which that is more than 512 MiB together are finished one after the other.
  public var maxPixels = 32 << 20
  /// Connections at once; more wait to be accepted.
  public var maxConnections = 512
  public var connection = ConnectionLimits()
  /// Bytes of all results that wait to be fetched.
  public var resultBytes = 256 << 20
  /// How long a result can be fetched.
  public var resultLifetime = Duration.seconds(600)
  /// What made the pictures, as they tell it.
  public var software = "mvar"

  public init() {}

  /// - Throws: ``ServerConfigurationError`` for what would not be safe or makes no sense.
  public func validate() throws(ServerConfigurationError) {
    if !isLoopback, token == nil {
      throw ServerConfigurationError(
        "host is \(host), which others can reach, and there is no token; give one with --token or "
          + "MVAR_TOKEN, or use 127.0.0.1")
    }
    guard (0...65535).contains(port) else {
      throw ServerConfigurationError("port is \(port); use 1 to 65535, or 0 for any")
    }
    let numbers = [
      ("max-count", maxCount), ("max-body", maxBody), ("max-pixels", maxPixels),
      ("max-connections", maxConnections),
    ]
    for (name, value) in numbers where value < 1 {
      throw ServerConfigurationError("\(name) is \(value); use 1 or more")
    }
  }

  /// Whether only this machine can reach the server.
  public var isLoopback: Bool {
    host == "localhost" || host == "::1" || host.hasPrefix("127.")
  }

  /// The hosts that the server answers for; nil for any, where a token protects it.
  var answeredHosts: Set<String>? {
    guard isLoopback else { return nil }
    let own: Set = ["localhost", "127.0.0.1", "::1", host.lowercased()]
    return own.union(allowedHosts.map { $0.lowercased() })
  }
}

/// A configuration that cannot be used; one line with the value and the mend.
public struct ServerConfigurationError: Error, CustomStringConvertible, Equatable {
  public let description: String

  public init(_ description: String) { self.description = description }
}
