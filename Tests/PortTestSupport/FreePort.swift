import Foundation
import Synchronization

/// Where the next search for a port begins; not the same in processes that run side by side.
private let nextPort = Mutex(20_000 + Int(getpid()) % 100 * 100)

/// A port of 127.0.0.1 that nobody listens at, another one at each call.
///
/// It lies below those that systems give to sockets which name none. Of these one that a test has let go of may be another's
/// at once, and then servers of different kinds wait for each other's words.
public func freePort() -> UInt16 {
  nextPort.withLock { next in
    while true {
      defer { next = next + 1 < 32_000 ? next + 1 : 20_000 }
      if isFree(UInt16(next)) { return UInt16(next) }
    }
  }
}

private func isFree(_ port: UInt16) -> Bool {
  let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  defer { close(descriptor) }
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_port = port.bigEndian
  return withUnsafePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
    }
  }
}
