import Testing

@testable import CUDAKernels

// Which form of attention a scale gets is decided without a GPU.

@Suite struct AttentionFormTests {
  @Test(arguments: [true, false], [true, false])
  func holdsAllKeys(isSpread: Bool, usesMatrixUnits: Bool) {
    for tokens in 0...300 {
      let form = AttentionAtOnce(
        tokens: tokens, isSpread: isSpread, usesMatrixUnits: usesMatrixUnits)
      guard let form else {
        let isShort = tokens <= (usesMatrixUnits && !isSpread ? 64 : 32)
        #expect(isShort || tokens > 256, "\(tokens) tokens")
        continue
      }
      #expect(AttentionAtOnce.all.contains(form))
      #expect(form.usesMatrixUnits == usesMatrixUnits && form.keys >= tokens)
      // Groups of four warps multiply 64 rows.
      #expect(!usesMatrixUnits || form.warps % 4 == 0)
      #expect(form.sharedBytes <= 227 << 10)
    }
  }

  @Test func smallerBlocksLeaveNoMultiprocessorFree() {
    for usesMatrixUnits in [true, false] {
      for tokens in 65...256 {
        let spread = AttentionAtOnce(
          tokens: tokens, isSpread: true, usesMatrixUnits: usesMatrixUnits)
        let large = AttentionAtOnce(
          tokens: tokens, isSpread: false, usesMatrixUnits: usesMatrixUnits)
        #expect(spread!.queries < large!.queries)
      }
    }
  }

  /// Rings either hold all tiles, or are refilled before anybody waits for what is not asked for; and they have room for sums.
  @Test(arguments: [1, 24, 48, 3072])
  func ringsAreLongEnough(heads: Int) {
    for tokens in [1, 16, 32, 33, 64, 65, 169, 256, 324, 1024] {
      for keys in [tokens, tokens + 1, tokens + 70, tokens + 1000] {
        let form = StreamedAttention(
          tokens: tokens, keys: keys, heads: heads, multiprocessors: 132)
        guard let form else {
          #expect(tokens <= 32 && keys == tokens)
          continue
        }
        #expect(StreamedAttention.all.contains(form))
        let stages = form.stages(keys: keys)
        let tiles = ((keys + 63) / 64 + form.keyGroups - 1) / form.keyGroups
        #expect(stages == tiles || stages >= (form.queryGroups > 1 ? 4 : 3) && stages < tiles)
        #expect(form.keyGroups == 1 || stages >= form.queryGroups)
        #expect(stages <= form.mostStages && form.mostStages <= 8)
        #expect(form.sharedBytes(stages: stages) <= form.mostSharedBytes)
        #expect(form.mostSharedBytes <= 219 << 10 && form.threads <= 1024)
      }
    }
  }
}
