/// How many pictures are drawn at once: as many as configured, fewer after memory ran out, and more
/// again once it has sufficed for a while.
struct BatchLimit {
  let configured: Int
  private(set) var current: Int
  private var successes = 0
  /// Successes before the limit is raised again; each failure doubles them, so that a limit that is too
  /// high for good is tried ever more rarely.
  private var patience = Self.leastPatience

  private static let leastPatience = 16
  private static let mostPatience = 4096

  init(configured: Int) {
    self.configured = configured
    current = configured
  }

  mutating func lower(after size: Int) {
    current = max(min(size, current) / 2, 1)
    successes = 0
    patience = min(patience * 2, Self.mostPatience)
  }

  mutating func succeeded() {
    guard current < configured else { return }
    successes += 1
    guard successes >= patience else { return }
    successes = 0
    current = min(current * 2, configured)
  }
}
