import Testing

@testable import Pictures

struct TransparencyTests {
  /// Sums of 255 − alpha as Pillow's `convert("RGBA")` gives them.
  @Test(arguments: [
    ("rgba", 43175), ("palette-alpha", 40370), ("gray-alpha", 43175), ("gray-transparent", 7140),
    ("rgba16", 43101), ("transparent-color", 7140),
  ]) func isWhatPillowReads(_ name: String, _ sum: Int) throws {
    let data = try bytes(of: fixture("pictures/\(name).png"))
    let transparency = try #require(try Transparency(data: data, name: name))
    #expect((transparency.width, transparency.height) == (22, 15))
    #expect(transparency.values.reduce(0) { $0 + Int($1) } == sum)
  }

  @Test func opaquePicturesHaveNone() throws {
    let picture = Picture(width: 3, height: 2, filledWith: .white)
    for format in [PictureFormat.png, .jpeg(), .webp()] {
      let data = try picture.encoded(as: format)
      #expect(try Transparency(data: data, name: "a") == nil)
    }
  }

  @Test func limitsAndDamage() throws {
    let data = try bytes(of: fixture("pictures/rgba.png"))
    #expect(throws: PictureError.self) {
      try Transparency(data: data, name: "a", limits: PictureLimits(pixels: 1))
    }
    #expect(throws: PictureError.self) { try Transparency(data: Array(data.prefix(60)), name: "a") }
    #expect(throws: PictureError.self) { try Transparency(data: [1, 2, 3, 4], name: "a") }
  }
}
