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
  /// Pieces of answers that are on their way.
  private var pieces = 0
  /// When the first of them must have been taken.
  private var takenBy = NIODeadline.distantFuture
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
      // Answered before its end, as a request is whose head is refused: the next one is expected.
      if unanswered == 0 { expectReading(limits.head, context) }
    }
    context.fireChannelRead(data)
  }

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    switch unwrapOutboundIn(data) {
    case .head: writePiece(data, promise, context)
    case .body(var rest):
      while rest.readableBytes > Self.pieceBytes,
        let piece = rest.readSlice(length: Self.pieceBytes)
      {
        writePiece(wrapOutboundOut(.body(piece)), nil, context)
      }
      writePiece(wrapOutboundOut(.body(rest)), promise, context)
    case .end:
      let promise = promise ?? context.eventLoop.makePromise()
      promise.futureResult.assumeIsolated().whenSuccess { self.answered(context) }
      writePiece(data, promise, context)
    }
  }

  /// Bytes of a body that a client must take within the limit.
  private static let pieceBytes = 128 << 10

  private func writePiece(
    _ data: NIOAny, _ promise: EventLoopPromise<Void>?, _ context: ChannelHandlerContext
  ) {
    let promise = promise ?? context.eventLoop.makePromise()
    expectTaking(promise.futureResult, context)
    context.write(data, promise: promise)
  }

  /// The client has taken all of an answer; only now it is its turn again.
  private func answered(_ context: ChannelHandlerContext) {
    unanswered = max(unanswered - 1, 0)
    if unanswered == 0, reading == nil { expectReading(limits.head, context) }
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
    pieces += 1
    if pieces == 1 { takenBy = .now() + TimeAmount(limits.write) }
    if writing == nil { scheduleWriting(context) }
    written.assumeIsolated().whenComplete { _ in
      self.pieces -= 1
      // The next one's time begins when the client can get at it.
      self.takenBy = .now() + TimeAmount(self.limits.write)
      guard self.pieces == 0 else { return }
      self.writing?.cancel()
      self.writing = nil
    }
  }

  private func scheduleWriting(_ context: ChannelHandlerContext) {
    writing = context.eventLoop.assumeIsolated().scheduleTask(deadline: takenBy) {
      self.writing = nil
      guard self.pieces > 0 else { return }
      if self.takenBy <= .now() {
        context.close(promise: nil)
      } else {
        self.scheduleWriting(context)
      }
    }
  }
}
