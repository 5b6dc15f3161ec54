import Foundation
import Synchronization

/// Pieces of work on other threads, such as the writing of pictures while the next are drawn.
///
/// All of them come to their end, also after one has failed or the task was cancelled: whoever adds some calls ``finish()``.
struct BackgroundWork<Output: Sendable> {
  /// What has been done, in the order in which it was added.
  private(set) var outputs: [Output] = []
  private var underWay: ArraySlice<Task<Output, any Error>> = []
  private let failure = FirstFailure()
  /// So many at once that every processor has something to do, and what they hold stays bounded.
  private let most = 4 * ProcessInfo.processInfo.activeProcessorCount

  /// Begins a piece of work, as soon as there is room for it.
  ///
  /// - Throws: What an earlier piece has thrown.
  mutating func add(_ work: @escaping @Sendable () throws -> Output) async throws {
    try failure.check()
    if underWay.count >= most { try await endFirst() }
    let failure = failure
    underWay.append(
      Task.detached(priority: .utility) {
        do { return try work() } catch {
          failure.note(error)
          throw error
        }
      })
  }

  /// Returns once nothing is under way any more.
  ///
  /// - Throws: What the first piece has thrown that failed, after all others have ended.
  mutating func finish() async throws {
    while !underWay.isEmpty {
      do { try await endFirst() } catch { continue }
    }
    try failure.check()
  }

  private mutating func endFirst() async throws {
    outputs.append(try await underWay.removeFirst().value)
  }
}

/// Seen as soon as it happens, and not only once it is the piece's turn.
private final class FirstFailure: Sendable {
  private let first = Mutex<(any Error)?>(nil)

  func note(_ error: any Error) {
    first.withLock { $0 = $0 ?? error }
  }

  func check() throws {
    if let error = first.withLock({ $0 }) { throw error }
  }
}
