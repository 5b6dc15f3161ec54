import Dispatch
import Foundation
import Synchronization

/// Asks the work to stop at the first Ctrl-C or `kill`; the second ends the program at once.
final class Interruption: @unchecked Sendable {
  private let first = Mutex<Int32?>(nil)
  /// Kept alive, and touched by nobody once made.
  private var sources: [any DispatchSourceSignal] = []

  init(_ stop: @escaping @Sendable () -> Void) {
    for number in [SIGINT, SIGTERM] {
      Foundation.signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler { [self] in received(number, stop) }
      sources.append(source)
      source.resume()
    }
  }

  /// The signal that came.
  var signal: Int32? { first.withLock { $0 } }

  private func received(_ number: Int32, _ stop: () -> Void) {
    let isFirst = first.withLock { first in
      defer { first = number }
      return first == nil
    }
    guard isFirst else { _exit(128 + number) }
    stop()
  }
}
