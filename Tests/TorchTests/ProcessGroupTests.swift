import Foundation
import PortTestSupport
import Synchronization
import Testing
import Torch
import TorchTestSupport

/// Groups whose processes are threads of the test, which c10d cannot tell from others.
@Suite(.serialized) struct ProcessGroupTests {
  init() throws { try LibTorch.load() }

  /// Runs a body once for each rank, all at the same time, and gives what they return.
  private func together<R: Sendable>(
    _ ranks: Int, _ body: @escaping @Sendable (ProcessGroup) throws -> R
  ) throws -> [R] {
    let port = freePort()
    let results = Mutex<[Int: Result<R, any Error>]>([:])
    let done = DispatchSemaphore(value: 0)
    for rank in 0..<ranks {
      Thread.detachNewThread {
        let result = Result {
          let group = try ProcessGroup(
            host: "127.0.0.1", port: port, hostsStore: rank == 0, rank: rank, ranks: ranks,
            timeout: 30)
          return try withTorchErrors { try body(group) }
        }
        results.withLock { $0[rank] = result }
        done.signal()
      }
    }
    for _ in 0..<ranks { done.wait() }
    return try results.withLock { results in try (0..<ranks).map { try results[$0]!.get() } }
  }

  @Test(arguments: [2, 3]) func sumsInBuckets(_ ranks: Int) throws {
    let sums = try together(ranks) { group in
      let mine = Double(group.rank + 1)
      let tensors = [Tensor.full([3, 2], mine), .full([5], 10 * mine), .full([1], 100 * mine)]
      try group.sumInPlace(tensors, bucketBytes: 32)
      return try tensors.map { try $0.reshape(-1).elements(as: Double.self) }
    }
    let all = Double(ranks * (ranks + 1) / 2)
    for sum in sums {
      #expect(
        sum == [.init(repeating: all, count: 6), .init(repeating: 10 * all, count: 5), [100 * all]])
    }
  }

  /// Uneven shares, one of them empty, in messages of one tensor and in one message of all.
  @Test(arguments: [1, 1 << 20]) func sharesWhatOthersOwn(bucketBytes: Int) throws {
    let owners = [0, 2, 0, 0, 2]
    let shared = try together(3) { group in
      let tensors = owners.indices.map {
        Tensor.full([$0 + 1, 2], Double(owners[$0] == group.rank ? 10 + $0 : -1))
      }
      try group.shareInPlace(tensors, owners: owners, bucketBytes: bucketBytes)
      return try tensors.map { try $0.reshape(-1).elements(as: Double.self) }
    }
    let expected = owners.indices.map { [Double](repeating: Double(10 + $0), count: 2 * ($0 + 1)) }
    for rank in 0..<3 { #expect(shared[rank] == expected, "rank \(rank)") }
  }

  /// As many processes as there are GPUs, at most two; with one the path is the same and the sums are
  /// its own.
  @Test(.enabled(if: hasGPU)) func worksBetweenGPUs() throws {
    let ranks = min(Device.cudaCount, 2)
    let all = Double(ranks * (ranks + 1) / 2)
    let results = try together(ranks) { group -> [[Double]] in
      try group.useNCCL(device: group.rank, timeout: 30)
      let device = Device.cuda(group.rank)
      let mine = Double(group.rank + 1)
      func on(_ x: Tensor) -> Tensor { x.to(.float32, device: device) }
      let sums = [on(.full([3, 2], mine)), on(.full([5], 10 * mine))]
      try group.sumInPlace(sums, bucketBytes: 24)
      let shared = (0..<3).map { on(.full([$0 + 1], mine + Double($0))) }
      try group.shareInPlace(shared, owners: [0, ranks - 1, 0], bucketBytes: 1)
      let leaves = (1...2).map { on(.full([$0, 4], 2)) }
      for leaf in leaves { leaf.setRequiresGradient() }
      let sum = try GradientSum(of: leaves, over: group, bucketBytes: 1)
      try sum.begin()
      ((leaves[0] * mine).sum(0, 1) + (leaves[1] * leaves[1]).sum(0, 1)).backward()
      try sum.end()
      try group.barrier()
      let numbers = try (sums + shared + leaves.map { $0.gradient! }).map {
        try $0.reshape(-1).elements(as: Double.self)
      }
      try group.check()
      return numbers
    }
    for numbers in results {
      #expect(numbers[0] == .init(repeating: all, count: 6))
      #expect(numbers[1] == .init(repeating: 10 * all, count: 5))
      #expect(numbers[2] == [1] && numbers[4] == [3, 3, 3])
      #expect(numbers[3] == .init(repeating: Double(ranks + 1), count: 2))
      #expect(numbers[5] == .init(repeating: all, count: 4))
      #expect(numbers[6] == .init(repeating: 4 * Double(ranks), count: 8))
    }
  }

  @Test func tellsTexts() throws {
    let heard = try together(2) { group in
      if group.rank == 0 {
        let before = try group.ask("greeting")
        try group.barrier()
        try group.tell("greeting", "grüß Gott")
        return [before]
      }
      try group.barrier()
      while true { if let text = try group.ask("greeting") { return [text] } }
    }
    #expect(heard == [[nil], ["grüß Gott"]])
  }

  @Test func aProcessThatLeavesIsNoticed() throws {
    let outcomes = try together(2) { group -> Bool in
      guard group.rank == 0 else { return true }
      do {
        for _ in 0..<1000 { try group.sumInPlace([.full([4], 1)]) }
        return false
      } catch { return true }
    }
    #expect(outcomes == [true, true])
  }

  /// Two micro-batches, of which the second sums; a leaf that neither reaches has its gradient set.
  @Test(arguments: [1, 40, 1 << 20]) func gradientsBecomeSums(bucketBytes: Int) throws {
    let gradients = try together(2) { group in
      let leaves = (1...3).map { Tensor.full([$0, 4], 2) }
      for leaf in leaves { leaf.setRequiresGradient() }
      let sum = try GradientSum(of: leaves.reversed(), over: group, bucketBytes: bucketBytes)
      var steps: [[[Double]]] = []
      for step in 0..<2 {
        for part in 0..<2 {
          if part == 1 { try sum.begin() }
          let factor = Double(1 + group.rank + 10 * part + 100 * step)
          ((leaves[0] * factor).sum(0, 1) + (leaves[1] * leaves[1]).sum(0, 1)).backward()
        }
        leaves[2].gradient = .full([3, 4], Double(group.rank))
        try sum.end()
        steps.append(try leaves.map { try $0.gradient!.reshape(-1).elements(as: Double.self) })
        for leaf in leaves { leaf.gradient = nil }
      }
      return steps
    }
    for rank in 0..<2 {
      for step in 0..<2 {
        let first = Double(2 * (1 + 11) + 2 + 400 * step)
        #expect(gradients[rank][step][0] == .init(repeating: first, count: 4))
        #expect(gradients[rank][step][1] == .init(repeating: 16, count: 8))
        #expect(gradients[rank][step][2] == .init(repeating: 1, count: 12))
      }
    }
  }

  /// The last factor's gradient is complete first; it becomes the sum before the backward pass of what
  /// was computed before it has ended.
  @Test func sumsWhileTheBackwardPassRuns() throws {
    let arrivedInTime = try together(2) { group in
      let (early, late) = (Tensor.full([4], 1), Tensor.full([4], 1))
      for leaf in [early, late] { leaf.setRequiresGradient() }
      let sum = try GradientSum(of: [late, early], over: group, bucketBytes: 1)
      var isSummed = false
      let made = withCustomGradient(of: [early]) {
        [early.detached() * Double(group.rank + 1)]
      } backward: { gradients in
        // Of rank 0 it is 1, of rank 1 it is 2.
        for _ in 0..<1000 where !isSummed {
          isSummed = try late.gradient?.elements(as: Double.self) == [3, 3, 3, 3]
          if !isSummed { Thread.sleep(forTimeInterval: 0.01) }
        }
        return gradients
      }[0]
      try sum.begin()
      (made * late).sum(0).backward()
      try sum.end()
      return isSummed
    }
    #expect(arrivedInTime == [true, true])
  }
}
