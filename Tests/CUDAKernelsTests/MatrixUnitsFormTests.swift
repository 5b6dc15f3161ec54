import Testing

@testable import CUDAKernels

// How products of some dozens of rows are cut into blocks is decided without a GPU.

@Suite struct MatrixUnitsFormTests {
  private static func form(rows: Int, _ inputs: Int, _ outputs: Int) -> MatrixUnitsForm? {
    MatrixUnitsForm(
      rows: rows, inputs: inputs, outputs: outputs, parts: [1, 2, 4, 8], multiprocessors: 132)
  }

  @Test(arguments: [
    (1024, 3072), (1024, 4256), (4096, 1024), (1536, 6320), (6144, 1536), (1920, 7868),
    (7680, 1920), (256, 96), (128, 16),
  ])
  func fitsTheGPU(_ shape: (inputs: Int, outputs: Int)) throws {
    for rows in 33...200 {
      let form = try #require(Self.form(rows: rows, shape.inputs, shape.outputs))
      let steps = shape.inputs / 64 / form.parts
      #expect(shape.inputs % (128 * form.parts) == 0)
      #expect((shape.outputs + 8 * form.columns - 1) / (8 * form.columns) * form.parts <= 132)
      // Each half of the warps has a stage under work and one on its way, or all there is.
      #expect(form.stages % 2 == 0 && (form.stages == steps || form.stages >= 4))
      let stage = 1024 * form.columns + 128 * form.tokens
      #expect(form.sharedBytes >= 1023 + (form.stages - 1) * stage + max(stage, 64 * 128))
      #expect(form.sharedBytes <= MatrixUnitsForm.mostSharedBytes)
      #expect(form.tokens >= rows && MatrixUnitsForm.tokenCounts.contains(form.tokens))
    }
  }

  @Test func leavesOthersToOtherKernels() {
    #expect(Self.form(rows: 0, 1536, 6144) == nil)
    #expect(Self.form(rows: 16, 1536, 6144) == nil)
    #expect(Self.form(rows: 17, 1536, 6144) != nil)
    #expect(Self.form(rows: 32, 1024, 4096) == nil)
    #expect(Self.form(rows: 33, 1024, 4096) != nil)
    #expect(Self.form(rows: 201, 1536, 6144) == nil)
    // Steps that the halves cannot share.
    #expect(Self.form(rows: 64, 192, 96) == nil)
    // More blocks than multiprocessors.
    #expect(Self.form(rows: 64, 1536, 16384) == nil)
    #expect(Self.form(rows: 64, 1536, 4097) == nil)
  }
}
