import Pictures

/// The pictures of one request of one client.
public struct Order: Sendable {
  /// Whose turn it is: who asks from one address, such as one user of a program. Requests of different
  /// addresses take turns, and so do requesters of one address.
  public struct Client: Sendable, Hashable {
    public var address: String
    /// Nil for somebody who is only this request.
    public var requester: String?

    public init(address: String, requester: String? = nil) {
      self.address = address
      self.requester = requester
    }
  }

  public var client: Client
  /// One a picture, at least one.
  public var tasks: [PictureTask]
  /// Whether the client wants to see every scale.
  public var previews: Bool
  /// How long the client waits at most; nil for the server's own limit, which holds in any case.
  public var timeout: Duration?

  public init(
    client: Client, tasks: [PictureTask], previews: Bool = false, timeout: Duration? = nil
  ) {
    self.client = client
    self.tasks = tasks
    self.previews = previews
    self.timeout = timeout
  }
}

/// What happens to an order, in this order.
public enum OrderEvent: Sendable {
  /// Accepted; so many pictures of others come first, about so long.
  case queued(ahead: Int, estimate: Duration?)
  /// A picture as it looks after one of its scales.
  case preview(index: Int, scale: Int, scales: Int, picture: Picture)
  /// A picture of the order is finished.
  case finished(index: Int, picture: Picture)
}

/// Why an order was not carried out.
public enum OrderFailure: Error, Sendable, Equatable {
  /// The queue is full; there is room after about so long.
  case queueFull(waiting: Int, limit: Int, retryAfter: Duration)
  /// This client has enough in the queue already.
  case clientQueueFull(waiting: Int, limit: Int, retryAfter: Duration)
  /// More pictures than fit into an empty queue.
  case orderTooLarge(count: Int, limit: Int)
  /// It could not be finished in the time that the server gives.
  case timedOut(after: Duration, retryAfter: Duration)
  /// It could not be finished in the time that it gave itself.
  case ownTimePassed(Duration)
  /// The server is about to stop.
  case shuttingDown
  /// The model is not ready yet.
  case starting
  /// The engine failed; the next order finds it working again.
  case engine(outOfMemory: Bool, retryAfter: Duration)
}
