import Testing

@testable import Pictures

@Suite struct ResizingTests {
  static let golden = Result { try expectedPictures("preprocess/expected.safetensors") }

  /// The whole path from file to network input, as Pillow and torchvision take it.
  @Test(
    arguments: ["cmyk.jpg", "gray.png", "palette.png", "rgb.png", "rgba.png", "tall.jpg"],
    [64, 128])
  func preprocessingEqualsTheReference(name: String, side: Int) throws {
    let expected = try #require(try Self.golden.get()["\(name).\(side)"])
    let picture = try Picture(contentsOf: fixture("preprocess/\(name)")).fitted(to: side)
    let off = distance(picture, expected)
    // Resizing is exact; a JPEG decoder of another version may be off by one before it.
    #expect(off <= (name.hasSuffix(".jpg") ? 1 : 0))
  }

  @Test(arguments: PictureFit.allCases)
  func aPictureOfTheRightSizeStaysAsItIs(fit: PictureFit) {
    let picture = sample(width: 33, height: 33)
    #expect(picture.fitted(to: 33, fit: fit) == picture)
  }

  @Test(arguments: PictureFit.allCases, [(1, 1), (3, 200), (200, 3), (64, 65), (16, 17)])
  func everyProportionFitsEverySide(fit: PictureFit, size: (width: Int, height: Int)) {
    for side in [1, 2, 16, 31] {
      let fitted = sample(width: size.width, height: size.height).fitted(to: side, fit: fit)
      #expect(fitted.width == side && fitted.height == side)
    }
  }

  @Test func oneColorStaysOneColor() {
    let color = RGB(255, 0, 77)
    let picture = Picture(width: 37, height: 23, filledWith: color)
    for (width, height) in [(1, 1), (5, 90), (90, 5), (37, 24), (128, 128)] {
      #expect(
        picture.resized(width: width, height: height)
          == Picture(width: width, height: height, filledWith: color))
    }
  }

  @Test func resizingCommutesWithMirroring() {
    let picture = sample(width: 40, height: 30)
    #expect(
      picture.upright(from: .mirrored).resized(width: 17, height: 51)
        == picture.resized(width: 17, height: 51).upright(from: .mirrored))
    // The other axis runs through the same fixed-point weights.
    #expect(
      picture.upright(from: .transposed).resized(width: 30, height: 17)
        == picture.resized(width: 17, height: 30).upright(from: .transposed))
  }

  /// Sizes for which rows, and for which columns, are resampled first.
  @Test(arguments: [(31, 17), (24, 40), (70, 5), (5, 70)], [(9, 8), (50, 12), (33, 90)])
  func aPartIsCutOutOfTheWhole(from: (width: Int, height: Int), to: (width: Int, height: Int)) {
    let picture = sample(width: from.width, height: from.height)
    let whole = picture.resized(width: to.width, height: to.height)
    let part = picture.resampled(width: to.width, height: to.height, columns: 2..<7, rows: 3..<6)
    #expect(part == whole.cropped(x: 2, y: 3, width: 5, height: 3))
  }

  /// The whole of it, scaled until it covers the square, would have 12 gigapixels.
  @Test(.timeLimit(.minutes(1)), arguments: [(1, 100_000), (100_000, 1)])
  func aThreadIsCropped(size: (width: Int, height: Int)) {
    let thread = Picture(width: size.width, height: size.height, filledWith: .white)
    #expect(thread.fitted(to: 64) == Picture(width: 64, height: 64, filledWith: .white))
  }

  @Test(arguments: PictureFit.allCases, [(1, 1), (3, 200), (200, 3), (48, 31), (96, 62)])
  func everyProportionFitsARectangle(fit: PictureFit, size: (width: Int, height: Int)) {
    let picture = sample(width: size.width, height: size.height)
    for target in [(width: 48, height: 31), (31, 48), (1, 7)] {
      let fitted = picture.fitted(to: target, fit: fit)
      #expect((fitted.width, fitted.height) == target)
      if size == target { #expect(fitted == picture) }
    }
  }

  @Test func rectanglesAreCutFromTheMiddle() {
    // 32x16 asks for a cover of 36x18: the picture, twice as large, is halved and loses 2 and 1.
    let picture = sample(width: 72, height: 36)
    #expect(
      picture.fitted(to: (32, 16))
        == picture.resized(width: 36, height: 18).cropped(x: 2, y: 1, width: 32, height: 16))
    // A square picture touches in width: 36x36, of which the middle 16 rows stay.
    let square = sample(width: 40, height: 40)
    #expect(
      square.fitted(to: (32, 16))
        == square.resized(width: 36, height: 36).cropped(x: 2, y: 10, width: 32, height: 16))
    let padded = Picture(width: 10, height: 10, filledWith: .white)
      .fitted(to: (8, 4), fit: .pad, background: .black)
    #expect(padded[1, 0] == .black && padded[2, 0] == .white && padded[6, 0] == .black)
  }

  @Test func paddingCentersOnTheBackground() {
    let white = Picture(width: 40, height: 20, filledWith: .white)
    let padded = white.fitted(to: 20, fit: .pad, background: RGB(1, 2, 3))
    #expect(padded[0, 4] == RGB(1, 2, 3) && padded[19, 15] == RGB(1, 2, 3))
    #expect(padded[0, 5] == .white && padded[19, 14] == .white)
    let tall = Picture(width: 20, height: 40, filledWith: .white).fitted(to: 20, fit: .pad)
    #expect(tall[4, 0] == .neutral && tall[5, 0] == .white && tall[15, 0] == .neutral)
  }

  @Test func stretchingIsResizing() {
    let picture = sample(width: 40, height: 20)
    #expect(picture.fitted(to: 16, fit: .stretch) == picture.resized(width: 16, height: 16))
  }

  @Test func croppingTakesTheRectangle() {
    let picture = sample()
    let part = picture.cropped(x: 3, y: 2, width: 5, height: 4)
    for y in 0..<4 { for x in 0..<5 { #expect(part[x, y] == picture[x + 3, y + 2]) } }
  }

  @Test func gridsAreLaidOutRowByRow() throws {
    let colors = [RGB(1, 1, 1), RGB(2, 2, 2), RGB(3, 3, 3), RGB(4, 4, 4), RGB(5, 5, 5)]
    let tiles = colors.map { Picture(width: 4, height: 3, filledWith: $0) }
    let grid = try PictureGrid(gap: 2, background: .black).tiled(tiles)
    #expect((grid.width, grid.height) == (3 * 4 + 2 * 2, 2 * 3 + 2))
    for (i, color) in colors.enumerated() {
      let (x, y) = (i % 3 * 6, i / 3 * 5)
      #expect(grid.cropped(x: x, y: y, width: 4, height: 3) == tiles[i])
      #expect(grid[x + 3, y + 2] == color)
    }
    #expect(grid[4, 0] == .black && grid[0, 3] == .black && grid[15, 7] == .black)

    let row = try PictureGrid(columns: 9, gap: 0).tiled(tiles)
    #expect((row.width, row.height) == (20, 3))
    #expect(try PictureGrid().tiled([tiles[0]]) == tiles[0])
    #expect(try PictureGrid(columns: 1, gap: 1).tiled(tiles).height == 5 * 3 + 4)
  }

  @Test func gridsThatCannotBeSayWhy() {
    let tile = Picture(width: 2, height: 2, filledWith: .white)
    #expect(pictureError(.invalidArgument) { _ = try PictureGrid().tiled([]) } != "")
    _ = pictureError(.invalidArgument) { _ = try PictureGrid(columns: 0).tiled([tile]) }
    _ = pictureError(.invalidArgument) { _ = try PictureGrid(gap: -1).tiled([tile]) }
    let message = pictureError(.invalidArgument) {
      _ = try PictureGrid().tiled([tile, sample()])
    }
    #expect(message.contains("number 1 is 2x2, number 2 is 31x17"))
  }
}
