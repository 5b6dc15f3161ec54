import Testing

@testable import MVARServer

/// Who is next.
struct TurnsTests {
  @Test func addressesTakeTurns() {
    var queue = FairQueue<String>()
    for i in 1...4 { queue.add("a\(i)", address: "a", requester: "1") }
    for i in 1...2 { queue.add("b\(i)", address: "b", requester: "1") }
    queue.add("c1", address: "c", requester: "1")
    #expect(queue.count == 7 && queue.count(of: "a") == 4)
    #expect(queue.take(5) == ["a1", "b1", "c1", "a2", "b2"])
    #expect(queue.count(of: "b") == 0)
    #expect(queue.take(9) == ["a3", "a4"])
    #expect(queue.take(1).isEmpty && queue.count == 0)
  }

  @Test func requestersOfAnAddressTakeTurnsWithoutGainingAnyForIt() {
    var queue = FairQueue<String>()
    for i in 1...2 { queue.add("x\(i)", address: "a", requester: "x") }
    for i in 1...2 { queue.add("y\(i)", address: "a", requester: "y") }
    for i in 1...4 { queue.add("b\(i)", address: "b", requester: "z") }
    #expect(queue.take(8) == ["x1", "b1", "y1", "b2", "x2", "b3", "y2", "b4"])
  }

  @Test func whoComesLaterJoinsTheRound() {
    var queue = FairQueue<String>()
    for i in 1...3 { queue.add("a\(i)", address: "a", requester: "1") }
    #expect(queue.take(1) == ["a1"])
    queue.add("b1", address: "b", requester: "1")
    #expect(queue.take(3) == ["a2", "b1", "a3"])
  }

  @Test func whatIsWithdrawnLeavesNoGap() {
    var queue = FairQueue<String>()
    for name in ["a1", "a2", "a3"] { queue.add(name, address: "a", requester: "1") }
    queue.add("b1", address: "b", requester: "1")
    queue.removeAll { $0 == "a1" || $0 == "b1" }
    #expect(queue.count == 2 && queue.count(of: "b") == 0)
    #expect(queue.take(4) == ["a2", "a3"])
  }
}

struct BatchTimesTests {
  @Test func estimatesFollowWhatWasMeasured() {
    var times = BatchTimes()
    #expect(times.estimate(size: 1) == nil)
    #expect(times.estimate(pictures: 0, limit: 4) == 0)
    #expect(times.estimate(pictures: 3, limit: 4) == nil)
    times.add(size: 2, seconds: 1)
    times.add(size: 8, seconds: 2)
    #expect(times.estimate(size: 1) == 1)
    #expect(times.estimate(size: 3) == 2)
    #expect(times.estimate(size: 16) == 4)
    // Two full batches and one of two.
    #expect(times.estimate(pictures: 18, limit: 8) == 5)
  }

  @Test func newMeasurementsWeighMore() {
    var times = BatchTimes()
    times.add(size: 1, seconds: 1)
    for _ in 1...40 { times.add(size: 1, seconds: 3) }
    #expect(abs(times.estimate(size: 1)! - 3) < 0.01)
  }

  @Test func theLimitHalvesAndRecovers() {
    var limit = BatchLimit(configured: 12)
    limit.lower(after: 12)
    #expect(limit.current == 6)
    limit.lower(after: 2)
    #expect(limit.current == 1)
    limit.lower(after: 1)
    #expect(limit.current == 1)
    var successes = 0
    while limit.current < 12, successes < 10_000 {
      limit.succeeded()
      successes += 1
    }
    #expect(limit.current == 12)
    // More patience after each failure than at the beginning.
    #expect(successes > 4 * 16)
  }
}
