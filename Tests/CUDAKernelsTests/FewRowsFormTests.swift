import Testing

@testable import CUDAKernels

// How products of few rows are cut into blocks is decided without a GPU.

@Suite struct FewRowsFormTests {
  private static let shapes = [
    (1024, 3072), (1024, 4256), (4096, 1024), (1536, 6320), (6144, 1536), (1920, 7868), (192, 96),
  ]

  @Test(arguments: [64, 99, 163, 227], shapes)
  func fitsTheGPU(_ kilobytes: Int, _ shape: (inputs: Int, outputs: Int)) {
    let limit = kilobytes << 10
    for rows in 0...100 {
      guard
        let form = FewRowsForm(
          rows: rows, inputs: shape.inputs, outputs: shape.outputs, parts: [1, 2, 4, 8],
          multiprocessors: 132, largestSharedMemory: limit)
      else { continue }
      #expect(FewRowsForm.names.contains(form.name))
      #expect(form.sharedBytes <= FewRowsForm.mostSharedBytes(of: limit))
      #expect(shape.inputs % (32 * form.parts) == 0)
      #expect(16 * form.tiles >= rows && form.threads <= 1024)
    }
  }

  @Test func leavesManyRowsToLibtorch() {
    func form(rows: Int) -> FewRowsForm? {
      FewRowsForm(
        rows: rows, inputs: 1536, outputs: 6144, parts: [1], multiprocessors: 132,
        largestSharedMemory: 227 << 10)
    }
    #expect(form(rows: 0) == nil)
    #expect(form(rows: 32) != nil)
    // Two blocks to a multiprocessor would come too late.
    #expect(form(rows: 33) == nil)
    #expect(form(rows: 65) == nil)
  }
}
