import Testing
import Torch

@testable import MVAR

/// Which φ a scale uses; the lists are what `PhiPartiallyShared` of the reference answers.
@Suite struct PhiTests {
  private func indices(scales: Int, phis: Int) -> [Int] {
    (0..<scales).map { Phi.index(scale: $0, of: scales, among: phis) }
  }

  @Test func publishedShape() {
    #expect(indices(scales: 10, phis: 4) == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3])
  }

  /// The scale in the middle is equally near to both.
  @Test func theFirstOfTwoThatAreEquallyNear() {
    #expect(indices(scales: 3, phis: 2) == [0, 0, 1])
    #expect(indices(scales: 5, phis: 2) == [0, 0, 0, 1, 1])
  }

  @Test(arguments: [1, 2, 10]) func oneForAll(scales: Int) {
    #expect(indices(scales: scales, phis: 1).allSatisfy { $0 == 0 })
  }

  @Test(arguments: 1...16) func oneForEach(scales: Int) {
    #expect(indices(scales: scales, phis: scales) == Array(0..<scales))
  }

  @Test(arguments: 2...12, 2...6) func finerScalesNeverUseEarlierOnes(scales: Int, phis: Int) {
    let indices = indices(scales: scales, phis: phis)
    #expect(indices == indices.sorted())
    #expect(indices.first == 0 && indices.last == phis - 1)
  }
}
