import Foundation
import Synchronization
import Testing
import Torch

/// An error belongs to the scope of the thread that met it.
@Suite struct ErrorScopeTests {
  init() throws { try LibTorch.load() }

  private struct OwnError: Error {}

  private static func fail() { _ = Tensor.ones([2]).reshape(3) }

  /// Runs `body` on a thread of its own, to its end.
  private func onAnotherThread(_ body: @escaping @Sendable () -> Void) {
    let done = DispatchSemaphore(value: 0)
    Thread.detachNewThread {
      body()
      done.signal()
    }
    done.wait()
  }

  @Test func anotherThreadsErrorIsItsOwn() throws {
    let caught = Mutex<TorchError?>(nil)
    try withTorchErrors {
      onAnotherThread {
        do { try withTorchErrors { Self.fail() } } catch {
          caught.withLock { $0 = error as? TorchError }
        }
      }
      let sum = try Tensor.ones([2]).sum(0).item()
      #expect(sum == 2)
    }
    #expect(caught.withLock { $0?.operation } == "reshape(float32[2])")
  }

  @Test func aScopeDoesNotCoverOtherThreads() async {
    await #expect(processExitsWith: .failure) {
      try LibTorch.load()
      try withTorchErrors {
        let done = DispatchSemaphore(value: 0)
        Thread.detachNewThread {
          _ = Tensor.ones([2]).reshape(3)
          done.signal()
        }
        done.wait()
      }
    }
  }

  @Test func theBodysOwnErrorPasses() {
    #expect(throws: OwnError.self) { try withTorchErrors { throw OwnError() } }
  }

  /// What the body throws after a failed operation is most likely its consequence.
  @Test func anEarlierFailureGoesFirst() {
    #expect(throws: TorchError.self) {
      try withTorchErrors {
        Self.fail()
        throw OwnError()
      }
    }
  }

  /// Else the inner scope's work would go on with what the failed operation gave.
  @Test func anInnerScopeDoesNotBeginAfterAFailure() {
    var hasBegun = false
    let error = #expect(throws: TorchError.self) {
      try withTorchErrors {
        Self.fail()
        try withTorchErrors { hasBegun = true }
      }
    }
    #expect(!hasBegun && error?.operation == "reshape(float32[2])")
  }

  @Test func aFailedScopeIsOver() throws {
    #expect(throws: TorchError.self) { try withTorchErrors { Self.fail() } }
    #expect(try withTorchErrors { Tensor.ones([4]) }.count == 4)
  }

  @Test func messagesAreOneLine() throws {
    let error = #expect(throws: TorchError.self) { try withTorchErrors { Self.fail() } }
    let line = try #require(error).description
    #expect(line.hasPrefix("reshape(float32[2]): ") && !line.contains("\n"))
  }
}
