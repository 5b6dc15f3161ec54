import Foundation
import Synchronization
import Testing

@testable import Torch

@Suite struct ParallelWorkTests {
  init() throws { try LibTorch.load() }

  @Test(arguments: [0, 1, 2, 7, 100], [1, 3, 64])
  func doesEveryUnitOnce(count: Int, grain: Int) {
    let done = Mutex<[Int]>([])
    inParallel(count, grain: grain) { range in done.withLock { $0 += Array(range) } }
    #expect(done.withLock { $0.sorted() } == Array(0..<count))
  }

  /// Also where another thread asks for more before the first operation of this one.
  @Test func theNumberOfThreadsIsTheCallersOwn() async {
    let used = await withCheckedContinuation { done in
      Thread.detachNewThread {
        Device.setThreadCount(1)
        let other = DispatchSemaphore(value: 0)
        Thread.detachNewThread {
          Device.setThreadCount(2)
          other.signal()
        }
        other.wait()
        let threads = Mutex<Set<ObjectIdentifier>>([])
        inParallel(20) { _ in
          threads.withLock { _ = $0.insert(ObjectIdentifier(Thread.current)) }
          Thread.sleep(forTimeInterval: 0.001)
        }
        done.resume(returning: threads.withLock { $0.count })
      }
    }
    #expect(used == 1)
  }

  @Test func doesNothingAfterAnError() {
    let done = Mutex(0)
    #expect(throws: TorchError.self) {
      try withTorchErrors {
        let failed = Tensor.zeros([2]) + Tensor.zeros([3])
        #expect(!failed.suitsCPUKernels)
        requireOfTensors(failed.shape == [2])
        inParallel(4) { range in done.withLock { $0 += range.count } }
      }
    }
    #expect(done.withLock { $0 } == 0)
  }
}
