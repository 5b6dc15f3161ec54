import MVAR
import Testing
import Torch

@Suite struct TokenPyramidTests {
  init() throws { try LibTorch.load() }

  private func maps(_ shapes: [[Int]], _ dtype: DType = .int64) -> [Tensor] {
    shapes.map { .zeros($0, dtype: dtype) }
  }

  @Test func holdsTheMapsOfItsSchedule() throws {
    let schedule = try ScaleSchedule(parsing: "1,2x3")
    let scales = [Tensor.of([7, 8], shape: [2, 1]), Tensor.arange(12).reshape(2, 6)]
    let pyramid = try TokenPyramid(schedule: schedule, scales: scales)
    #expect(pyramid.batch == 2)
    #expect(
      try pyramid.flattened.elements(as: Int.self)
        == [7, 0, 1, 2, 3, 4, 5, 8, 6, 7, 8, 9, 10, 11])
  }

  @Test(arguments: [
    [], [[2, 1]], [[2, 1], [2, 6], [2, 6]], [[2, 1], [3, 6]], [[2, 1], [2, 4]], [[2, 6], [2, 1]],
    [[2], [2, 6]], [[2, 1], [2, 2, 3]],
  ])
  func refusesOthers(_ shapes: [[Int]]) throws {
    let schedule = try ScaleSchedule(parsing: "1,2x3")
    expectFailure(.mismatch, "\(shapes)", "1,2x3") {
      _ = try TokenPyramid(schedule: schedule, scales: maps(shapes))
    }
  }

  @Test func refusesNumbersThatAreNoTokens() throws {
    let schedule = try ScaleSchedule(parsing: "1,2")
    expectFailure(.mismatch, "float32", "int64") {
      _ = try TokenPyramid(schedule: schedule, scales: maps([[2, 1], [2, 4]], .float32))
    }
  }
}
