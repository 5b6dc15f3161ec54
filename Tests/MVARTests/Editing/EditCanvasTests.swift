import Pictures
import Testing

@testable import MVAR

/// Where pictures lie on what a model draws, and how they come back.
@Suite struct EditCanvasTests {
  private static let size = (width: 32, height: 32)
  private static let schedule = try! ScaleSchedule(parsing: "1,2")

  /// Red counts columns, green rows.
  private func gradient(_ width: Int, _ height: Int) -> Picture {
    Picture(
      width: width, height: height,
      pixels: (0..<width * height).flatMap { [UInt8($0 % width), UInt8($0 / width), 7] })
  }

  private let grey = Picture(width: 32, height: 32, filledWith: RGB(200, 200, 200))

  @Test(arguments: PictureFit.allCases) func aPictureOfTheRightSizeIsSeenAsItIs(
    _ fit: PictureFit
  ) throws {
    let picture = gradient(32, 32)
    let canvas = try EditCanvas(picture, modelSize: Self.size, fit: fit)
    let mask = try EditMask(
      width: 32, height: 32, box: PixelBox(left: 0, top: 0, right: 16, bottom: 32))
    #expect(canvas.isExact && canvas.fitted == picture)
    #expect(try canvas.fitted(mask, schedule: Self.schedule) == mask)
    #expect(canvas.finished(grey) == grey)
    let result = canvas.finished(grey, keepingPixelsOutside: mask, feather: 0)
    #expect(result.cropped(x: 0, y: 0, width: 16, height: 32).pixels.allSatisfy { $0 == 200 })
    #expect(
      result.cropped(x: 16, y: 0, width: 16, height: 32)
        == picture.cropped(x: 16, y: 0, width: 16, height: 32))
  }

  @Test func padShowsAllOfItAndCutsTheRestAway() throws {
    let canvas = try EditCanvas(gradient(64, 32), modelSize: Self.size, fit: .pad)
    #expect(canvas.scaledSize == (32, 16) && !canvas.isExact)
    let fitted = canvas.fitted
    #expect((fitted.width, fitted.height) == Self.size)
    let small = gradient(64, 32).resized(width: 32, height: 16)
    #expect(fitted.cropped(x: 0, y: 8, width: 32, height: 16) == small)
    // What is beyond mirrors the picture, and is drawn.
    #expect(fitted[5, 7] == small[5, 0] && fitted[5, 24] == small[5, 15])
    let mask = try EditMask(
      width: 64, height: 32, box: PixelBox(left: 0, top: 0, right: 32, bottom: 32))
    let seen = try canvas.fitted(mask, schedule: Self.schedule)
    #expect(seen[31, 0] == 255 && seen[31, 31] == 255)
    #expect(seen[15, 16] == 255 && seen[16, 16] == 0)
    #expect(canvas.finished(fitted) == small)
    let result = canvas.finished(grey, keepingPixelsOutside: mask, feather: 0)
    #expect((result.width, result.height) == (64, 32))
    #expect(result[31, 31] == RGB(200, 200, 200) && result[32, 31] == RGB(32, 31, 7))
  }

  @Test func cropShowsTheMiddleAndKeepsTheRest() throws {
    let canvas = try EditCanvas(gradient(96, 32), modelSize: Self.size, fit: .crop)
    #expect(canvas.fitted == gradient(96, 32).cropped(x: 32, y: 0, width: 32, height: 32))
    #expect(canvas.finished(grey) == grey)
    let all = EditMask.everything(width: 96, height: 32)
    let result = canvas.finished(grey, keepingPixelsOutside: all, feather: 0)
    #expect(result[31, 3] == RGB(31, 3, 7) && result[64, 3] == RGB(64, 3, 7))
    #expect(result[32, 3] == RGB(200, 200, 200) && result[63, 3] == RGB(200, 200, 200))
    let outside = try EditMask(
      width: 96, height: 32, box: PixelBox(left: 0, top: 0, right: 30, bottom: 32))
    expectFailure(.invalidValue, "crop", "pad") {
      _ = try canvas.fitted(outside, schedule: Self.schedule)
    }
  }

  @Test func stretchComesBackStretched() throws {
    let canvas = try EditCanvas(gradient(64, 16), modelSize: Self.size, fit: .stretch)
    #expect(canvas.fitted == gradient(64, 16).resized(width: 32, height: 32))
    let result = canvas.finished(
      grey, keepingPixelsOutside: .everything(width: 64, height: 16), feather: 3)
    #expect((result.width, result.height) == (64, 16))
    #expect(result.pixels.allSatisfy { $0 == 200 })
  }

  /// Out-painting: the picture moves in, its margins mirror it and are all drawn.
  @Test func marginsGrowTheCanvas() throws {
    let picture = gradient(24, 32)
    let canvas = try EditCanvas(picture, margins: .init(left: 6, right: 2), modelSize: Self.size)
    #expect(canvas.canvasSize == (32, 32) && canvas.isExact)
    let fitted = canvas.fitted
    #expect(fitted.cropped(x: 6, y: 0, width: 24, height: 32) == picture)
    #expect(fitted[5, 9] == picture[0, 9] && fitted[0, 9] == picture[5, 9])
    #expect(fitted[30, 9] == picture[23, 9])
    let seen = try canvas.fitted(nil, edges: .hard(threshold: 0), schedule: Self.schedule)
    #expect((0..<32).map { seen[$0, 0] == 255 } == (0..<32).map { $0 < 6 || $0 >= 30 })
    let result = canvas.finished(grey, keepingPixelsOutside: nil, feather: 0)
    #expect(result.cropped(x: 6, y: 0, width: 24, height: 32) == picture)
    #expect(result[5, 0] == RGB(200, 200, 200) && result[30, 31] == RGB(200, 200, 200))
  }

  @Test func aMarginWiderThanThePictureMirrorsItAgain() throws {
    let canvas = try EditCanvas(
      gradient(2, 1), margins: .init(left: 5, top: 3), modelSize: Self.size)
    let whole = gradient(2, 1).mirrored(canvas.margins)
    #expect((0..<7).map { whole[$0, 0].red } == [0, 0, 1, 1, 0, 0, 1])
  }

  @Test func aLargerCanvasIsShrunk() throws {
    let canvas = try EditCanvas(
      gradient(64, 64), margins: .init(left: 32, right: 32), modelSize: Self.size)
    #expect(canvas.canvasSize == (128, 64) && canvas.scaledSize == (32, 16))
    #expect((canvas.finished(grey).width, canvas.finished(grey).height) == (32, 16))
    let result = canvas.finished(grey, keepingPixelsOutside: nil, feather: 8)
    #expect((result.width, result.height) == (128, 64))
    #expect(result[72, 40] == RGB(40, 40, 7))
    #expect(result[31, 5] == RGB(200, 200, 200))
  }

  // MARK: Seams

  /// Beyond the feather every byte is the original's; before it there is no jump.
  @Test func theSeamIsFeathered() throws {
    let white = Picture(width: 32, height: 32, filledWith: .white)
    let canvas = try EditCanvas(white, modelSize: Self.size)
    let mask = try EditMask(
      width: 32, height: 32, box: PixelBox(left: 0, top: 0, right: 8, bottom: 32))
    let black = Picture(width: 32, height: 32, filledWith: .black)
    let row = canvas.finished(black, keepingPixelsOutside: mask, feather: 6)
    let values = (0..<32).map { Int(row[$0, 17].red) }
    #expect(values.prefix(8).allSatisfy { $0 == 0 })
    #expect(values.dropFirst(14).allSatisfy { $0 == 255 })
    #expect(zip(values[7..<14], values[8..<15]).allSatisfy { $0 < $1 && $1 - $0 < 90 })
  }

  @Test(arguments: [0, 1, 2]) func distancesAreTheNearest(_ seed: UInt64) {
    var random = SystemFree(state: seed)
    let (width, height) = (13, 9)
    let coverage = (0..<width * height).map { _ -> UInt8 in
      [0, 0, 0, 100, 0, 200, 0, 0][Int(random.next() % 8)]
    }
    let mask = EditMask(width: width, height: height, coverage: coverage)
    let sites = coverage.indices.filter { coverage[$0] >= 128 }
    let expected = coverage.indices.map { p in
      sites.map { q in
        let (dx, dy) = (p % width - q % width, p / width - q / width)
        return Double(dx * dx + dy * dy)
      }.min()!
    }
    #expect(mask.squaredDistances() == expected)
  }

  /// A linear congruence, the same on every machine.
  private struct SystemFree {
    var state: UInt64
    mutating func next() -> UInt64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return state >> 33
    }
  }

  @Test func aMaskOfNothingChangesNothing() throws {
    let picture = gradient(32, 32)
    let canvas = try EditCanvas(picture, modelSize: Self.size)
    let nothing = EditMask.nothing(width: 32, height: 32)
    #expect(canvas.finished(grey, keepingPixelsOutside: nothing, feather: 20) == picture)
  }

  // MARK: Bad input

  @Test func aMaskOfAnotherSizeIsNamed() throws {
    let canvas = try EditCanvas(gradient(40, 30), modelSize: Self.size)
    expectFailure(.mismatch, "30 × 40", "40 × 30") {
      _ = try canvas.fitted(.everything(width: 30, height: 40), schedule: Self.schedule)
    }
  }

  @Test func anEmptyMaskIsNamed() throws {
    let canvas = try EditCanvas(gradient(40, 30), modelSize: Self.size)
    for mask in [nil, EditMask.nothing(width: 40, height: 30)] {
      expectFailure(.invalidValue, "empty", "white") {
        _ = try canvas.fitted(mask, schedule: Self.schedule)
      }
    }
  }

  /// Margins that the model draws anyway do not hide that the mask itself is too small.
  @Test func aMaskBelowATokenIsNamed() throws {
    let canvas = try EditCanvas(gradient(64, 32), modelSize: Self.size)
    let speck = try EditMask(
      width: 64, height: 32, box: PixelBox(left: 1, top: 1, right: 4, bottom: 4))
    expectFailure(.invalidValue, "16 × 16", "threshold") {
      _ = try canvas.fitted(speck, schedule: Self.schedule)
    }
    _ = try canvas.fitted(speck, edges: .hard(threshold: 0), schedule: Self.schedule)
    _ = try canvas.fitted(speck, edges: .soft, schedule: Self.schedule)
  }

  @Test(arguments: [
    (EditCanvas.Margins(left: -1), "left is -1"), (.init(bottom: .max), "bottom is"),
    (.init(left: 90_000, top: 90_000), "canvas is"),
  ]) func marginsOutOfRange(_ margins: EditCanvas.Margins, _ part: String) {
    expectFailure(.invalidValue, part) {
      _ = try EditCanvas(gradient(8, 8), margins: margins, modelSize: Self.size)
    }
  }
}
