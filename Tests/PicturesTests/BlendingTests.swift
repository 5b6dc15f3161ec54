import Pictures
import Testing

/// Transparent pictures over a colour, against what `make-blended.py` computed.
@Suite struct BlendingTests {
  static let names = [
    "rgba.png", "gray-alpha.png", "palette-alpha.png", "transparent-color.png",
    "gray-transparent.png", "alpha.webp",
  ]

  @Test(arguments: names) func transparencyShowsTheBackground(_ name: String) throws {
    let expected = try #require(try expectedPictures("pictures/blended.safetensors")[name])
    let picture = try Picture(contentsOf: fixture("pictures/\(name)"), over: RGB(200, 100, 50))
    #expect(distance(picture, expected) == 0)
    #expect(try distance(picture, Picture(contentsOf: fixture("pictures/\(name)"))) > 0)
  }

  @Test(arguments: ["gray.jpg", "lossy.webp", "palette2.png", "rgb16.png", "gray16.png"])
  func opaquePicturesStayAsTheyAre(_ name: String) throws {
    let path = fixture("pictures/\(name)")
    let picture = try Picture(contentsOf: path, over: RGB(200, 100, 50))
    #expect(try picture == Picture(contentsOf: path))
  }

  @Test func leftAndRightAreExchanged() {
    let picture = sample(width: 5, height: 3)
    let mirror = picture.mirrored()
    #expect(mirror[0, 2] == picture[4, 2] && mirror[3, 0] == picture[1, 0])
    #expect(mirror.mirrored() == picture)
  }
}
