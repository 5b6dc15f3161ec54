import Hummingbird
import NIOCore

/// What is known about a request besides itself.
public struct ServerContext: RequestContext {
  public var coreContext: CoreRequestContextStorage
  private let channel: any Channel

  public init(source: ApplicationRequestContextSource) {
    coreContext = .init(source: source)
    channel = source.channel
  }

  /// Where the client is: its IPv4 address, or the network that its IPv6 address lies in, of which it
  /// may have as many as it likes.
  var address: String {
    guard let address = channel.remoteAddress else { return "here" }
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
    let channel = channel
    return try? await channel.eventLoop.submit {
      try channel.pipeline.syncOperations.handler(type: ConnectionGuard.self).presence
    }.get()
  }
}
