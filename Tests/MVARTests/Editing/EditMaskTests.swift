import Pictures
import Testing

@testable import MVAR

@Suite struct EditMaskTests {
  private static let box = PixelBox(left: 2, top: 1, right: 5, bottom: 3)

  @Test func aBoxIsWhatLiesInIt() throws {
    let mask = try EditMask(width: 6, height: 4, box: Self.box)
    let drawn = String(mask.coverage.map { $0 == 255 ? "#" : "." })
    #expect(drawn == "........###...###.......")
    #expect(mask.inverted.coverage.map { 255 - $0 } == mask.coverage)
    #expect(!mask.isEmpty && EditMask.nothing(width: 2, height: 2).isEmpty)
  }

  @Test(arguments: [
    PixelBox(left: -1, top: 0, right: 3, bottom: 3), PixelBox(left: 0, top: 0, right: 7, bottom: 3),
    PixelBox(left: 0, top: 0, right: 6, bottom: 5), PixelBox(left: 3, top: 0, right: 3, bottom: 4),
    PixelBox(left: 4, top: 0, right: 2, bottom: 4), PixelBox(left: 0, top: 4, right: 2, bottom: 4),
    PixelBox(left: .min, top: .min, right: .max, bottom: .max),
  ]) func aBoxOutsideIsNamed(_ box: PixelBox) {
    expectFailure(.invalidValue, "box is \(box)", "6 × 4") {
      _ = try EditMask(width: 6, height: 4, box: box)
    }
  }

  @Test func aPictureIsAMaskByItsBrightness() {
    let colours: [UInt8] = [255, 255, 255, 0, 0, 0, 128, 128, 128, 0, 255, 0]
    let mask = EditMask(Picture(width: 2, height: 2, pixels: colours))
    #expect(mask.coverage == [255, 0, 128, 150])
  }

  /// Fractions that no power of two can hold come out exact where everything is covered.
  @Test(arguments: [(256, 256, 13, 13), (64, 48, 5, 7), (3, 2, 10, 9), (1, 1, 4, 4)])
  func fullIsOneAndEmptyIsNone(_ width: Int, _ height: Int, _ rows: Int, _ columns: Int) {
    let full = EditMask.everything(width: width, height: height)
    let empty = EditMask.nothing(width: width, height: height)
    #expect(full.shares(rows: rows, columns: columns) == .init(repeating: 1, count: rows * columns))
    #expect(
      empty.shares(rows: rows, columns: columns) == .init(repeating: 0, count: rows * columns))
    #expect(full.resized(width: columns, height: rows) == .everything(width: columns, height: rows))
  }

  @Test func sharesAreAreas() throws {
    // Columns 2..<5 of 6, cut into 4 cells of 1.5 pixels: 0, 1/1.5, 1, 1/3 …
    let mask = try EditMask(
      width: 6, height: 1, box: PixelBox(left: 2, top: 0, right: 5, bottom: 1))
    let shares = mask.shares(rows: 1, columns: 4)
    let expected = [0, 2.0 / 3, 1, 1.0 / 3]
    #expect(zip(shares, expected).allSatisfy { abs($0 - $1) < 1e-15 })
    // The whole keeps its area.
    let tall = try EditMask(width: 6, height: 4, box: Self.box)
    for (rows, columns) in [(1, 1), (3, 5), (9, 7)] {
      let shares = tall.shares(rows: rows, columns: columns)
      #expect(abs(shares.reduce(0, +) / Double(rows * columns) - 0.25) < 1e-12)
    }
  }

  @Test func edgesDecideAboutTokens() throws {
    // A quarter of the first of three tokens, and all of the others.
    let mask = try EditMask(
      width: 12, height: 4, box: PixelBox(left: 3, top: 0, right: 12, bottom: 4))
    let schedule = try ScaleSchedule(parsing: "1,1x3")
    func drawn(_ edges: MaskEdges, kept: Int = 0) -> [[Float]] {
      mask.drawnShares(schedule, edges: edges, keptScales: kept)
    }
    #expect(drawn(.half) == [[1], [0, 1, 1]])
    #expect(drawn(.hard(threshold: 0.75)) == [[1], [0, 1, 1]])
    #expect(drawn(.hard(threshold: 0.8)) == [[0], [0, 1, 1]])
    #expect(drawn(.hard(threshold: 0)) == [[1], [1, 1, 1]])
    #expect(drawn(.soft) == [[0.75], [0.25, 1, 1]])
    #expect(drawn(.half, kept: 1) == [[0], [0, 1, 1]])
    #expect(drawn(.soft, kept: 2) == [[0], [0, 0, 0]])
    let nothing = EditMask.nothing(width: 12, height: 4)
    #expect(nothing.drawnShares(schedule, edges: .hard(threshold: 0)) == [[0], [0, 0, 0]])
  }

  @Test(arguments: [-0.1, 1.5, .nan, .infinity]) func aThresholdIsAShare(_ threshold: Double) {
    expectFailure(.invalidValue, "threshold is") {
      try MaskEdges.hard(threshold: threshold).validate()
    }
  }

  @Test(arguments: [(0, 10), (0.04, 10), (0.3, 7), (0.5, 5), (1, 0)])
  func strengthsAreShares(_ strength: Double, _ kept: Int) throws {
    #expect(try ScaleSchedule.px256.keptScales(strength: strength) == kept)
  }

  @Test(arguments: [-0.1, 1.01, .nan]) func aStrengthOutOfRange(_ strength: Double) {
    expectFailure(.invalidValue, "strength is") {
      _ = try ScaleSchedule.px256.keptScales(strength: strength)
    }
  }
}
