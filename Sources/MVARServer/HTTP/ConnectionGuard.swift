import NIOCore
import NIOHTTPTypes

/// How long a client may take.
public struct ConnectionLimits: Sendable, Equatable {
  /// For the head of a request, from the connection's beginning or the end of the last answer.
  public var head: Duration
  /// For the body of a request, from its head.
  public var body: Duration
  /// For taking a piece of an answer.
  public var write: Duration

  public init(
    head: Duration = .seconds(30), body: Duration = .seconds(60), write: Duration = .seconds(60)
  ) {
    self.head = head
    self.body = body
    self.write = write
  }
}

/// Closes connections of clients that take too long, however steadily they go on a byte at a time,
/// and tells when a client has gone.
///
/// Time that the server takes for an answer is not the client's.
final class ConnectionGuard: ChannelDuplexHandler, RemovableChannelHandler {
  typealias InboundIn = HTTPRequestPart
  typealias InboundOut = HTTPRequestPart
  typealias OutboundIn = HTTPResponsePart
  typealias OutboundOut = HTTPResponsePart

  let presence = ClientPresence()
  private let limits: ConnectionLimits
  private var reading: Scheduled<Void>?
  private var writing: Scheduled<Void>?
  /// When each piece that is on its way must have been taken, first to last.
  private var pieces: [NIODeadline] = []
  /// Requests whose answers have not ended.
  private var unanswered = 0

  init(_ limits: ConnectionLimits) { self.limits = limits }

  func handlerAdded(context: ChannelHandlerContext) {
    if context.channel.isActive { expectReading(limits.head, context) }
  }

  func channelActive(context: ChannelHandlerContext) {
    expectReading(limits.head, context)
    context.fireChannelActive()
  }

  func handlerRemoved(context: ChannelHandlerContext) { gone() }

  func channelInactive(context: ChannelHandlerContext) {
    gone()
    context.fireChannelInactive()
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if let event = event as? ChannelEvent, event == .inputClosed { presence.leave() }
    context.fireUserInboundEventTriggered(event)
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head:
      unanswered += 1
      expectReading(limits.body, context)
    case .body: break
    case .end:
      reading?.cancel()
      reading = nil
    }
    context.fireChannelRead(data)
  }

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    let promise = promise ?? context.eventLoop.makePromise()
    expectTaking(promise.futureResult, context)
    if case .end = unwrapOutboundIn(data) {
      unanswered -= 1
      if unanswered == 0, reading == nil { expectReading(limits.head, context) }
    }
    context.write(data, promise: promise)
  }

  private func gone() {
    reading?.cancel()
    writing?.cancel()
    (reading, writing) = (nil, nil)
    presence.leave()
  }

  private func expectReading(_ limit: Duration, _ context: ChannelHandlerContext) {
    reading?.cancel()
    reading = context.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(limit)) {
      context.close(promise: nil)
    }
  }

  private func expectTaking(_ written: EventLoopFuture<Void>, _ context: ChannelHandlerContext) {
    pieces.append(.now() + TimeAmount(limits.write))
    if writing == nil { scheduleWriting(context) }
    written.assumeIsolated().whenComplete { _ in
      self.pieces.removeFirst()
      guard self.pieces.isEmpty else { return }
      self.writing?.cancel()
      self.writing = nil
    }
  }

  private func scheduleWriting(_ context: ChannelHandlerContext) {
    guard let deadline = pieces.first else { return }
    writing = context.eventLoop.assumeIsolated().scheduleTask(deadline: deadline) {
      self.writing = nil
      guard let first = self.pieces.first else { return }
      if first <= .now() { context.close(promise: nil) } else { self.scheduleWriting(context) }
    }
  }
}
