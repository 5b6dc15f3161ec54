import Foundation

/// A TCP connection that sends what a test says and nothing else.
final class RawConnection: Sendable {
  private let socket: Int32

  /// - Throws: If nobody listens at the port.
  init(port: Int) throws {
    #if canImport(Darwin)
      socket = Foundation.socket(AF_INET, SOCK_STREAM, 0)
    #else
      socket = Foundation.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    #endif
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(port).bigEndian
    address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    // `deinit` closes the socket even then.
    guard result == 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
    _ = fcntl(socket, F_SETFL, O_NONBLOCK)
  }

  deinit { Foundation.close(socket) }

  /// Sends as much as goes at once.
  ///
  /// - Returns: Whether the other end still takes it.
  @discardableResult func send(_ text: String) -> Bool {
    let bytes = Array(text.utf8)
    #if canImport(Darwin)
      let flags: Int32 = 0
    #else
      let flags = Int32(MSG_NOSIGNAL)
    #endif
    return Foundation.send(socket, bytes, bytes.count, flags) >= 0 || errno == EAGAIN
  }

  /// What has come; nil once the other end has closed.
  func received() -> String? {
    var bytes = [UInt8](repeating: 0, count: 65536)
    let count = recv(socket, &bytes, bytes.count, 0)
    if count > 0 { return String(decoding: bytes.prefix(count), as: UTF8.self) }
    return count == 0 || (errno != EAGAIN && errno != EINTR) ? nil : ""
  }

  /// Leaves without a word: what is still on its way is lost.
  func reset() {
    var now = linger(l_onoff: 1, l_linger: 0)
    setsockopt(socket, SOL_SOCKET, SO_LINGER, &now, socklen_t(MemoryLayout<linger>.size))
    // A connection to nowhere takes the socket's place, which `deinit` closes.
    var address = sockaddr()
    address.sa_family = sa_family_t(AF_UNSPEC)
    connect(socket, &address, socklen_t(MemoryLayout<sockaddr>.size))
  }

  /// Leaves.
  func close() { shutdown(socket, Int32(SHUT_RDWR)) }
}
