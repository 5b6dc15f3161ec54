import Hummingbird
import NIOCore

/// What is known about a request besides itself.
public struct ServerContext: RequestContext {
  public var coreContext: CoreRequestContextStorage
  private let channel: any Channel
  /// Where the client is: its IPv4 address, or the network that its IPv6 address lies in, of which it
  /// may have as many as it likes.
  ///
  /// It is noted when the request comes: a connection that has ended has none.
  let address: String

  public init(source: ApplicationRequestContextSource) {
    coreContext = .init(source: source)
    channel = source.channel
    address = Self.address(of: source.channel.remoteAddress)
  }

  static func address(of address: SocketAddress?) -> String {
    guard let address else { return "here" }
    switch address {
    case .v6(let v6):
      return withUnsafeBytes(of: v6.address.sin6_addr) { bytes in
        bytes.prefix(8).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
      }
    default: return address.ipAddress ?? "here"
    }
  }

  /// Tells when the client goes away; nil where nothing can tell, as without a socket.
  func presence() async -> ClientPresence? {
    // Connections have a listener, which stays known when they have ended.
    guard channel.parent != nil else { return nil }
    let presence = try? await channel.eventLoop.submit { [channel] in
      try channel.pipeline.syncOperations.handler(type: ConnectionGuard.self).presence
    }.get()
    // A connection that has ended has no handlers any more.
    return presence ?? .gone
  }
}
