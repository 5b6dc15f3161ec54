import Foundation
import Synchronization
import Testing
import Torch

@Suite struct TensorExecutorTests {
  /// An actor that notes what happens on its executor.
  private actor Worker {
    private let executor: TensorExecutor
    nonisolated var unownedExecutor: UnownedSerialExecutor {
      executor.asUnownedSerialExecutor()
    }
    private var sum = 0
    nonisolated let threads = Threads()

    init(_ executor: TensorExecutor) { self.executor = executor }

    /// Not atomic, so that jobs at the same time would lose some.
    func add(_ number: Int, inside running: borrowing Mutex<Int>) -> Bool {
      let others = running.withLock { count in
        defer { count += 1 }
        return count
      }
      let before = sum
      Thread.sleep(forTimeInterval: 0.0002)
      sum = before + number
      threads.note(.current)
      running.withLock { $0 -= 1 }
      return others == 0
    }

    func total() -> Int { sum }
  }

  /// The threads that were seen, as long as they live.
  private final class Threads: @unchecked Sendable {
    private let lock = NSLock()
    private var seen: [ObjectIdentifier] = []
    private weak var last: Thread?

    func note(_ thread: Thread) {
      lock.withLock {
        if !seen.contains(ObjectIdentifier(thread)) { seen.append(ObjectIdentifier(thread)) }
        last = thread
      }
    }

    var all: [ObjectIdentifier] { lock.withLock { seen } }
    var lastIsAlive: Bool { lock.withLock { last != nil } }
  }

  private final class Running: Sendable { let count = Mutex(0) }

  @Test func jobsRunOneAfterTheOtherOnOneThread() async {
    let worker = Worker(TensorExecutor(name: "serial"))
    let running = Running()
    let alone = await withTaskGroup(of: Bool.self) { group in
      for number in 1...200 {
        group.addTask { await worker.add(number, inside: running.count) }
      }
      return await group.reduce(true) { $0 && $1 }
    }
    #expect(alone)
    #expect(await worker.total() == 200 * 201 / 2)
    #expect(worker.threads.all.count == 1)
  }

  @Test func executorsHaveThreadsOfTheirOwn() async {
    let workers = (0..<3).map { Worker(TensorExecutor(name: "own \($0)")) }
    let running = Running()
    for worker in workers { _ = await worker.add(1, inside: running.count) }
    #expect(Set(workers.flatMap(\.threads.all)).count == 3)
  }

  @Test func theThreadEndsWithTheExecutor() async throws {
    weak var executor: TensorExecutor?
    var worker: Worker? = {
      let strong = TensorExecutor(name: "ends")
      executor = strong
      return Worker(strong)
    }()
    let running = Running()
    _ = await worker?.add(1, inside: running.count)
    let threads = try #require(worker?.threads)
    #expect(threads.lastIsAlive && executor != nil)
    worker = nil
    for _ in 0..<500 where threads.lastIsAlive || executor != nil {
      try await Task.sleep(for: .milliseconds(10))
    }
    #expect(executor == nil)
    #expect(!threads.lastIsAlive)
  }
}
