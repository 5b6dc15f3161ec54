import Foundation

/// A serial executor with a thread of its own.
///
/// libtorch keeps a pool of worker threads for each thread that calls it, and gradient modes and
/// error scopes belong to threads; an actor that holds a model runs on one of these.
public final class TensorExecutor: SerialExecutor {
  private let queue = JobQueue()

  /// - Parameter name: The thread's name, for debuggers.
  public init(name: String) {
    let queue = queue
    let thread = Thread {
      while let job = queue.next() { job() }
    }
    thread.name = name
    // Graphs of operations nest deeply; 512 KiB, the default for secondary threads, is little.
    thread.stackSize = 8 << 20
    thread.start()
  }

  deinit { queue.close() }

  public func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    let executor = asUnownedSerialExecutor()
    queue.add { job.runSynchronously(on: executor) }
  }
}

private final class JobQueue: @unchecked Sendable {
  private let condition = NSCondition()
  private var jobs: [@Sendable () -> Void] = []
  private var isClosed = false

  func add(_ job: @escaping @Sendable () -> Void) {
    condition.withLock {
      jobs.append(job)
      condition.signal()
    }
  }

  func close() {
    condition.withLock {
      isClosed = true
      condition.signal()
    }
  }

  /// Waits for the next job; nil once closed and empty.
  func next() -> (@Sendable () -> Void)? {
    condition.withLock {
      while jobs.isEmpty && !isClosed { condition.wait() }
      return jobs.isEmpty ? nil : jobs.removeFirst()
    }
  }
}
