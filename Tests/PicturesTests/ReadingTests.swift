import Foundation
import Testing

@testable import Pictures

@Suite struct ReadingTests {
  static let golden = Result { try expectedPictures("pictures/expected.safetensors") }

  @Test(arguments: [
    "orientation-6.png", "orientation-8.webp", "rgb16.png", "rgba16.png", "gray16.png",
    "gray-alpha16.png", "interlaced.png", "gray1.png", "gray2.png", "gray4.png", "gray-alpha.png",
    "rgba.png", "transparent-color.png", "palette4.png", "palette-alpha.png", "texts.png",
    "alpha.webp", "animated.webp", "palette1.png", "palette2.png", "gray-transparent.png",
    "late-text.png",
  ])
  func losslessFilesReadAsPillowReadsThem(name: String) throws {
    let expected = try #require(try Self.golden.get()[name])
    let picture = try Picture(contentsOf: fixture("pictures/\(name)"))
    #expect(distance(picture, expected) == 0)
  }

  /// Pillow brings its own, newer libjpeg and libwebp, which may round otherwise.
  @Test(arguments: [
    "gray.jpg", "progressive.jpg", "subsampled.jpg", "cmyk.jpg", "ycck.jpg", "lossy.webp",
    "sampling440.jpg", "sampling411.jpg",
  ])
  func lossyFilesReadAsPillowReadsThem(name: String) throws {
    let expected = try #require(try Self.golden.get()[name])
    let picture = try Picture(contentsOf: fixture("pictures/\(name)"))
    #expect(distance(picture, expected) <= 1)
  }

  @Test(arguments: 1...8)
  func everyExifOrientationIsTurnedUpright(value: Int) throws {
    let name = "orientation-\(value).jpg"
    let expected = try #require(try Self.golden.get()[name])
    let picture = try Picture(contentsOf: fixture("pictures/\(name)"))
    #expect((picture.width, picture.height) == (value < 5 ? (22, 15) : (15, 22)))
    #expect(distance(picture, expected) <= 1)
  }

  /// XMP counts where EXIF has no orientation, and ImageMagick's notation counts as EXIF.
  @Test(arguments: [
    "xmp-3.jpg", "xmp-5.webp", "xmp-7.png", "exif-2-xmp-7.png", "raw-profile-8.png",
  ])
  func orientationsOutsideExifAreTurnedUpright(name: String) throws {
    let expected = try #require(try Self.golden.get()[name])
    let picture = try Picture(contentsOf: fixture("pictures/\(name)"))
    #expect(distance(picture, expected) <= (name.hasSuffix(".jpg") ? 1 : 0))
    let upright = try #require(try Self.golden.get()["orientation-1.jpg"])
    #expect(distance(picture, upright) > 50, "the fixture itself must be turned")
  }

  @Test(arguments: [
    ("", Orientation.upright), ("tiff:Orientation=\"6\"", .needsClockwiseTurn),
    ("<tiff:Orientation>8<", .needsCounterclockwiseTurn), ("tiff:Orientation=\"9\"", .upright),
    ("tiff:Orientation='3'", .upright), ("tiff:Orientation", .upright),
    ("tiff:Orientation=\"", .upright), ("tiff:Orientation=\"x\" tiff:Orientation>3", .upsideDown),
  ])
  func orientationInXMP(text: String, orientation: Orientation) {
    #expect(Orientation(exif: [], xmp: Array(text.utf8)) == orientation)
  }

  @Test func turnsFollowTheirDefinition() {
    // a b
    // c d
    // e f
    let letters = (0..<6).map { UInt8($0) }
    let picture = Picture(width: 2, height: 3, pixels: letters.flatMap { [$0, $0, $0] })
    let expected: [Orientation: [UInt8]] = [
      .upright: [0, 1, 2, 3, 4, 5], .mirrored: [1, 0, 3, 2, 5, 4],
      .upsideDown: [5, 4, 3, 2, 1, 0], .flipped: [4, 5, 2, 3, 0, 1],
      .transposed: [0, 2, 4, 1, 3, 5], .needsClockwiseTurn: [4, 2, 0, 5, 3, 1],
      .transversed: [5, 3, 1, 4, 2, 0], .needsCounterclockwiseTurn: [1, 3, 5, 0, 2, 4],
    ]
    for orientation in Orientation.allCases {
      let turned = picture.upright(from: orientation)
      #expect(stride(from: 0, to: 18, by: 3).map { turned.pixels[$0] } == expected[orientation])
    }
  }

  @Test(arguments: [
    [], [0], Array("II*\0".utf8), Array("MM\0*".utf8) + [255, 255, 255, 255],
    Array("II*\0".utf8) + [8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 9, 0, 0, 0],
    Array("II*\0".utf8) + [8, 0, 0, 0, 255, 255, 0x12, 1, 3, 0],
    [UInt8](repeating: 0xFF, count: 300),
  ])
  func damagedExifMeansUpright(block: [UInt8]) {
    #expect(Orientation(exif: block) == .upright)
  }

  @Test func bigAndLittleEndianExif() {
    let little = Array("II*\0".utf8) + [8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0]
    let big = Array("MM\0*".utf8) + [0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, 8, 0, 0]
    #expect(Orientation(exif: little + [0, 0, 0, 0]) == .needsClockwiseTurn)
    #expect(Orientation(exif: Array("Exif\0\0".utf8) + little) == .needsClockwiseTurn)
    #expect(Orientation(exif: big + [0, 0, 0, 0]) == .needsCounterclockwiseTurn)
  }

  @Test func pathURLAndBytesGiveTheSame() throws {
    let path = fixture("pictures/rgba.png")
    let picture = try Picture(contentsOf: path)
    #expect(try Picture(contentsOf: URL(filePath: path)) == picture)
    #expect(try Picture(data: bytes(of: path), name: "rgba.png") == picture)
    let message = pictureError(.invalidArgument) {
      _ = try Picture(contentsOf: URL(string: "https://example.org/a.png")!)
    }
    #expect(message.contains("https://example.org/a.png"))
  }

  @Test func whatIsNoPictureIsNamedWithItsFirstBytes() {
    let message = pictureError(.notAPicture) {
      _ = try Picture(data: Array("%PDF-1.7".utf8), name: "photo.jpg")
    }
    #expect(
      message == "photo.jpg is not a PNG, JPEG or WebP picture (it begins with 25 50 44 46); "
        + "convert it first")
    #expect(
      pictureError(.notAPicture) { _ = try Picture(data: [], name: "photo.jpg") }
        .hasPrefix("photo.jpg is empty"))
    #expect(
      pictureError(.notAPicture) { _ = try Picture(data: [0x0A], name: "x") }
        .contains("(it begins with 0A)"))
    let wave = Array("RIFF".utf8) + [0, 0, 0, 0] + Array("WAVE".utf8)
    _ = pictureError(.notAPicture) { _ = try Picture(data: wave, name: "x") }
  }

  @Test(arguments: [
    "rgb16.png", "palette4.png", "interlaced.png", "orientation-6.png", "subsampled.jpg",
    "progressive.jpg", "cmyk.jpg", "orientation-3.jpg", "lossy.webp", "alpha.webp",
    "animated.webp", "orientation-8.webp",
  ])
  func aFileThatEndsEarlyIsAnErrorWhereverItEnds(name: String) throws {
    let data = try bytes(of: fixture("pictures/\(name)"))
    for length in stride(from: 12, to: data.count, by: max(data.count / 97, 1)) {
      let message = pictureError(.damaged) {
        _ = try Picture(data: Array(data[..<length]), name: "part-\(length)")
      }
      #expect(message.hasPrefix("part-\(length) is damaged or ends early ("))
    }
    _ = pictureError(.damaged) { _ = try Picture(data: data.dropLast(), name: name) }
  }

  @Test(arguments: [
    "rgb16.png", "palette4.png", "texts.png", "orientation-6.png", "subsampled.jpg",
    "progressive.jpg", "ycck.jpg", "orientation-5.jpg", "lossy.webp", "alpha.webp",
    "animated.webp", "orientation-8.webp",
  ])
  func changedBytesNeverCrash(name: String) throws {
    let data = try bytes(of: fixture("pictures/\(name)"))
    var state: UInt64 = 1
    for _ in 0..<300 {
      var changed = data
      for _ in 0..<3 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        changed[Int(state >> 33) % data.count] = UInt8(truncatingIfNeeded: state >> 25)
      }
      // Some decode, some do not, and both are right.
      _ = try? Picture(data: changed, name: name, limits: PictureLimits(pixels: 1_000_000))
      _ = try? PictureMetadata(data: changed, name: name)
    }
  }

  @Test func aJPEGWithStrayBytesIsReadAndADamagedOneIsNot() throws {
    var data = try bytes(of: fixture("pictures/subsampled.jpg"))
    let whole = try Picture(data: data, name: "a.jpg")
    let table = try #require(zip(data, data.dropFirst()).enumerated().first { $1 == (0xFF, 0xDB) })
    data.insert(contentsOf: [0, 0, 0], at: table.offset)
    #expect(try Picture(data: data, name: "a.jpg") == whole)
    // Half of the compressed pixels replaced by the end marker.
    let cut = Array(data[..<(data.count - 120)]) + [0xFF, 0xD9]
    _ = pictureError(.damaged) { _ = try Picture(data: cut, name: "a.jpg") }
  }

  @Test func aGigapixelIsRefusedBeforeDecoding() throws {
    let message = pictureError(.tooLarge) {
      _ = try Picture(contentsOf: fixture("pictures/gigapixel.png"))
    }
    #expect(message.contains("gigapixel.png has 40000x40000 pixels"))
    #expect(message.contains("the limit of 100000000; shrink it first or raise the limit"))

    // A JPEG keeps its size behind the frame marker.
    var jpeg = try bytes(of: fixture("pictures/subsampled.jpg"))
    let frame = try #require(zip(jpeg, jpeg.dropFirst()).enumerated().first { $1 == (0xFF, 0xC0) })
    jpeg.replaceSubrange(frame.offset + 5..<frame.offset + 9, with: [0xFF, 0x00, 0xFF, 0x00])
    let refused = pictureError(.tooLarge) { _ = try Picture(data: jpeg, name: "a.jpg") }
    #expect(refused.contains("65280x65280"))
  }

  @Test(arguments: ["rgba.png", "subsampled.jpg", "lossy.webp"])
  func limitsHoldToThePixelAndToTheByte(name: String) throws {
    let path = fixture("pictures/\(name)")
    let size = try bytes(of: path).count
    let exact = PictureLimits(pixels: 22 * 15, bytes: size)
    #expect(try Picture(contentsOf: path, limits: exact).width == 22)
    _ = pictureError(.tooLarge) {
      _ = try Picture(contentsOf: path, limits: PictureLimits(pixels: 22 * 15 - 1))
    }
    let message = pictureError(.tooLarge) {
      _ = try Picture(contentsOf: path, limits: PictureLimits(bytes: size - 1))
    }
    #expect(message.contains("has \(size) bytes, more than the limit of \(size - 1)"))
    _ = pictureError(.tooLarge) {
      _ = try Picture(
        data: try bytes(of: path), name: name, limits: PictureLimits(bytes: size - 1))
    }
  }

  @Test func errorsAreOneLineWhateverTheName() {
    let message = pictureError(.unreadable) {
      _ = try Picture(contentsOf: "/none/a\nb\u{2028}\u{7}.png")
    }
    #expect(message.hasPrefix(#"/none/a\nb\u{2028}\u{07}.png cannot be read"#))
  }

  @Test func whatCannotBeReadSaysWhy() throws {
    try withFolder { folder in
      let missing = folder.appending(path: "missing.png").path
      let message = pictureError(.unreadable) { _ = try Picture(contentsOf: missing) }
      #expect(
        message == "\(missing) cannot be read (No such file or directory); check the path")
      let other = pictureError(.unreadable) { _ = try Picture(contentsOf: folder) }
      #expect(
        other.hasSuffix("cannot be read (Is a directory); name a file inside it"))
    }
  }

  @Test func textsOfEveryChunkKindAreRead() throws {
    let metadata = try PictureMetadata(contentsOf: fixture("pictures/texts.png"))
    #expect(metadata.entries.map(\.key) == ["Title", "Comment", "Description", "Packed"])
    #expect(metadata["Title"] == "café")
    #expect(metadata["Comment"] == String(repeating: "a long line ", count: 40))
    #expect(metadata["Description"] == "金毛寻回犬 🐕")
    #expect(metadata["Packed"] == String(repeating: "αβγ ", count: 40))
    #expect(metadata["Nothing"] == nil)
    #expect(
      try PictureMetadata(contentsOf: fixture("pictures/late-text.png"))
        == ["Before": "the pixels", "After": "the pixels"])
    #expect(try PictureMetadata(contentsOf: fixture("pictures/rgba.png")) == [:])
    #expect(try PictureMetadata(contentsOf: fixture("pictures/gray.jpg")) == [:])
  }
}
