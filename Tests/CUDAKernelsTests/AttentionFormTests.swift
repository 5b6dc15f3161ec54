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
}
