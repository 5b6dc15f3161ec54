import Foundation
import PortTestSupport
import Synchronization

/// A web server on 127.0.0.1 that answers whatever it is told to, honest or not.
public final class LocalServer: Sendable {
  public struct Request: Sendable {
    public let method: String
    /// The path and the query.
    public let target: String
    /// By names in lower case.
    public let headers: [String: String]

    /// The first byte of a `Range`.
    public var rangeStart: Int? {
      headers["range"].flatMap { $0.wholeMatch(of: /bytes=(\d+)-/) }.flatMap { Int($0.output.1) }
    }
  }

  public struct Reply: Sendable {
    public var status: Int
    public var headers: [(name: String, value: String)]
    public var body: [UInt8]
    /// Whether to send a `Content-Length` of the body.
    public var tellsLength = true
    /// The connection is cut after so many bytes of the body.
    public var cutAfter: Int?
    /// What happens between the last byte and the cut, such as waiting until the bytes have arrived.
    public var beforeCut: (@Sendable () -> Void)?
    /// Waits so long after so many bytes.
    public var pause: (after: Int, seconds: Double)?

    public init(_ status: Int, _ headers: [(String, String)] = [], _ body: [UInt8] = []) {
      self.status = status
      self.headers = headers.map { ($0.0, $0.1) }
      self.body = body
    }
  }

  public typealias Handler = @Sendable (Request, _ number: Int) -> Reply

  public let port: Int
  private let listener: Int32
  private let handler: Handler
  private let log = Mutex<[Request]>([])
  private let isStopped = Mutex(false)

  /// - Parameter handler: Gets each request and how many there were before it.
  public init(_ handler: @escaping Handler) {
    self.handler = handler
    let (listener, port) = Self.listener()
    (self.listener, self.port) = (listener, Int(port))
    Thread.detachNewThread { [weak self] in
      while let connection = Self.accepted(listener) {
        guard let self else {
          close(connection)
          continue
        }
        Thread.detachNewThread { self.serve(connection) }
      }
      // Here, and not where the server is stopped: another server's listener could have the number before this thread
      // looks again, and its connections would end up here.
      close(listener)
    }
  }

  private static func listener() -> (descriptor: Int32, port: UInt16) {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    // Another process may be faster at a port that was free.
    for _ in 0..<100 {
      let port = freePort()
      address.sin_port = port.bigEndian
      let isBound = withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
        }
      }
      if isBound, listen(descriptor, 64) == 0 { return (descriptor, port) }
    }
    preconditionFailure("no port on 127.0.0.1: \(String(cString: strerror(errno)))")
  }

  /// The next connection; nil once the listener is shut down.
  private static func accepted(_ listener: Int32) -> Int32? {
    while true {
      let connection = accept(listener, nil, nil)
      if connection >= 0 { return connection }
      guard errno == EINTR || errno == ECONNABORTED else { return nil }
    }
  }

  deinit { stop() }

  /// From now on connections are refused.
  public func stop() {
    let wasStopped = isStopped.withLock { isStopped in
      defer { isStopped = true }
      return isStopped
    }
    // Another file may have the same number by now.
    guard !wasStopped else { return }
    shutdown(listener, Int32(SHUT_RDWR))
  }

  public var address: String { "http://127.0.0.1:\(port)" }

  /// All that was asked so far.
  public var requests: [Request] { log.withLock { $0 } }

  private func serve(_ connection: Int32) {
    defer { close(connection) }
    guard let request = Self.read(connection) else { return }
    let number = log.withLock { log in
      log.append(request)
      return log.count - 1
    }
    let reply = handler(request, number)
    Self.send(reply, to: connection, isHead: request.method == "HEAD")
    reply.beforeCut?()
    // Lets the other side read what was sent before the connection goes.
    shutdown(connection, Int32(SHUT_WR))
    var rest = [UInt8](repeating: 0, count: 256)
    while recv(connection, &rest, rest.count, 0) > 0 {}
  }

  private static func read(_ connection: Int32) -> Request? {
    var bytes: [UInt8] = []
    var byte: UInt8 = 0
    while !bytes.suffix(4).elementsEqual([13, 10, 13, 10]) {
      guard recv(connection, &byte, 1, 0) == 1, bytes.count < 65_536 else { return nil }
      bytes.append(byte)
    }
    let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\r\n")
    let words = lines[0].split(separator: " ")
    guard words.count == 3 else { return nil }
    let headers = lines.dropFirst().compactMap { line -> (String, String)? in
      guard let colon = line.firstIndex(of: ":") else { return nil }
      let value = line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
      return (line[..<colon].lowercased(), value)
    }
    return Request(
      method: String(words[0]), target: String(words[1]),
      headers: Dictionary(headers) { first, _ in first })
  }

  private static func send(_ reply: Reply, to connection: Int32, isHead: Bool) {
    var head = "HTTP/1.1 \(reply.status) Reply\r\nConnection: close\r\n"
    for (name, value) in reply.headers { head += "\(name): \(value)\r\n" }
    let isTold = reply.headers.contains { $0.name == "Content-Length" }
    if reply.tellsLength, !isTold, !isHead { head += "Content-Length: \(reply.body.count)\r\n" }
    guard send(Array((head + "\r\n").utf8)[...], to: connection), !isHead else { return }
    let body = reply.body[..<min(reply.cutAfter ?? .max, reply.body.count)]
    guard let pause = reply.pause else {
      _ = send(body, to: connection)
      return
    }
    guard send(body.prefix(pause.after), to: connection) else { return }
    Thread.sleep(forTimeInterval: pause.seconds)
    _ = send(body.dropFirst(pause.after), to: connection)
  }

  private static func send(_ bytes: ArraySlice<UInt8>, to connection: Int32) -> Bool {
    var rest = bytes
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes {
        Foundation.send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      guard count > 0 else { return false }
      rest = rest.dropFirst(count)
    }
    return true
  }
}
