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
    guard case .v6(let v6) = address else { return address.ipAddress ?? "here" }
    let bytes = withUnsafeBytes(of: v6.address.sin6_addr) { Array($0) }
    // How a server that listens at IPv6 addresses sees a client with an IPv4 address.
    if bytes.starts(with: Self.mapped) {
      return bytes.suffix(4).map { "\($0)" }.joined(separator: ".")
    }
    let network = bytes.prefix(8)
    // Addresses such as ::1 lie in no client's network.
    if network.allSatisfy({ $0 == 0 }) { return address.ipAddress ?? "here" }
    return network.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  /// The beginning of ::ffff:a.b.c.d.
  private static let mapped = [UInt8](repeating: 0, count: 10) + [0xFF, 0xFF]

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
