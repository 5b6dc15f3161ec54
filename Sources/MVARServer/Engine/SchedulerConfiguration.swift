/// How much a server takes on at once.
public struct SchedulerConfiguration: Sendable, Equatable {
  /// Pictures drawn at once.
  public var batch: Int
  /// Pictures that may wait.
  public var queue: Int
  /// Pictures of one address that may wait.
  public var queuePerAddress: Int
  /// The longest that an order may take from its acceptance.
  public var timeout: Duration
  /// How much of a batch's time to wait for others where it is not full. Clients that come at once, or
  /// come again once they have an answer, then share batches instead of taking turns with small ones.
  public var gathering: Double
  /// Sizes of batches that are drawn before the first order: on a GPU, what they need is prepared then.
  public var warmUp: [Int]
  /// How often each of them is drawn; the last time is what clients are told to wait by at first.
  public var warmUpRuns: Int

  public init(
    batch: Int, queue: Int = 256, queuePerAddress: Int? = nil, timeout: Duration = .seconds(300),
    gathering: Double = 0.05, warmUp: [Int] = [1], warmUpRuns: Int = 1
  ) {
    precondition(batch > 0 && queue > 0, "a batch and a queue hold one picture or more")
    self.batch = batch
    self.queue = queue
    self.queuePerAddress = min(queuePerAddress ?? queue, queue)
    self.timeout = timeout
    self.gathering = gathering
    self.warmUp = warmUp
    self.warmUpRuns = warmUpRuns
  }

  /// The longest wait for others, in seconds, whatever a batch takes.
  static let longestGathering = 0.02
}
