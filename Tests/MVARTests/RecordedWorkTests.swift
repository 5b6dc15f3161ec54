import Testing
import Torch

@testable import MVAR

/// What a GPU does once before it is recorded: a full GPU then must not spoil what comes later.
@Suite struct RecordedWorkTests {
  init() throws { try LibTorch.load() }

  @Test func aFailureIsForgotten() throws {
    var work = RecordedWork<Tensor>(GraphMemory())
    #expect(throws: TorchError.self) { try work.run { Tensor.ones([2]).reshape(3) } }
    #expect(work.result == nil)
    #expect(try work.run { Tensor.ones([4]) }.count == 4)
    #expect(work.result?.count == 4)
  }

  @Test func nothingIsDoneAfterAFailure() {
    var work = RecordedWork<Tensor>(GraphMemory())
    #expect(throws: TorchError.self) {
      try withTorchErrors {
        _ = Tensor.ones([2]).reshape(3)
        _ = try work.run { Tensor.ones([4]) }
      }
    }
    #expect(work.result == nil)
  }

  @Test func everyBatchHasASize() {
    #expect(PaddedBatch.sizes(upTo: 64) == [1, 2, 4, 8, 16, 32, 48, 64])
    for most in 1...130 {
      let sizes = PaddedBatch.sizes(upTo: most)
      #expect(sizes == Set((1...most).map(PaddedBatch.size)).sorted())
    }
  }
}
