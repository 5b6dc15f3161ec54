import Logging
import MVAR
import Testing

@testable import MVARServer

/// Runs a scheduler for the length of a test.
func withScheduler<R>(
  _ engine: any PictureEngine, _ configuration: SchedulerConfiguration,
  _ body: (PictureScheduler) async throws -> R
) async throws -> R {
  let scheduler = PictureScheduler(
    engine: engine, configuration: configuration, logger: quietLogger)
  let run = Task { try await scheduler.run() }
  await scheduler.waitUntilReady()
  let result: R
  do { result = try await body(scheduler) } catch {
    run.cancel()
    throw error
  }
  run.cancel()
  _ = await run.result
  return result
}

/// Logs nothing.
let quietLogger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// An order of new pictures.
func order(
  _ count: Int = 1, from address: String = "a", requester: String? = nil, label: Int = 0,
  seed: UInt64 = 0, previews: Bool = false, timeout: Duration? = nil
) -> Order {
  Order(
    client: .init(address: address, requester: requester),
    tasks: (0..<count).map { .draw(ImageRequest(label: label, seed: seed &+ UInt64($0))) },
    previews: previews, timeout: timeout)
}

/// Waits for something that other tasks bring about.
func eventually(_ what: Comment, _ condition: () async -> Bool) async throws {
  let end = ContinuousClock.now + .seconds(60)
  while !(await condition()) {
    guard ContinuousClock.now < end else {
      Issue.record(what)
      throw CancellationError()
    }
    try await Task.sleep(for: .milliseconds(2))
  }
}
