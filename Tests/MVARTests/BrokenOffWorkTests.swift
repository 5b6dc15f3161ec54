import Foundation
import Synchronization
import Testing
import TorchTestSupport

@testable import MVAR

/// Whoever waits for broken-off work finds it ended.
@Suite struct BrokenOffWorkTests {
  private func generator() async throws -> ImageGenerator {
    try await ImageGenerator(
      model: Golden.mvar64.modelFile, tokenizer: Golden.tokenizerFile,
      options: ComputeOptions(precision: .float32, place: .cpu, threads: 1))
  }

  @Test func drainingWaitsForWorkThatIsNotOnTheExecutorYet() async throws {
    let generator = try await generator()
    let hasEnded = Mutex(false)
    func leave() async throws {
      let scales = generator.reported { report in
        report(GeneratedScale(index: 0, count: 2, pictures: nil))
        usleep(300_000)
        hasEnded.withLock { $0 = true }
      }
      for try await _ in scales { break }
    }
    try await leave()
    await generator.drain()
    #expect(hasEnded.withLock { $0 })
  }

  @Test func drainingDoesNotWaitForTheWorkOfOthers() async throws {
    let generator = try await generator()
    let mayEnd = Mutex(false)
    let scales = generator.reported { _ in
      while !mayEnd.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(10)) }
    }
    await generator.drain()
    mayEnd.withLock { $0 = true }
    for try await _ in scales { Issue.record("a scale of nothing") }
  }

  @Test func whatIsCancelledBeforeItBeginsDrawsNothing() async throws {
    let generator = try await generator()
    let work = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      return try await generator.pictures([ImageRequest(label: 0, seed: 0)])
    }
    await #expect(throws: CancellationError.self) { try await work.value }
    await generator.drain()
  }
}
