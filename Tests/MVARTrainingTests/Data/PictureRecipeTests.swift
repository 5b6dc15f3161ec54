import Foundation
import Pictures
import Testing

@testable import MVARTraining

/// What becomes of one picture.
@Suite struct PictureRecipeTests {
  private func draws(_ place: Int) -> Draws {
    Draws(seed: 3, .augmentation, epoch: 0, place: place)
  }

  private func square(_ recipe: PictureRecipe, _ picture: Picture, place: Int = 0) throws -> Picture
  {
    var draws = draws(place)
    return try recipe.square(picture.encoded(as: .png), name: "test", &draws).square
  }

  @Test(arguments: [(20, 16), (16, 40), (64, 33), (7, 5)])
  func evaluationIsTheReferencesPreparation(_ width: Int, _ height: Int) throws {
    let picture = PictureFolder.picture(9, width: width, height: height)
    #expect(try square(.evaluation(side: 16), picture) == picture.fitted(to: 16))
  }

  /// Every random crop is some window of the picture whose shorter side is round(1.125 · 16) = 18.
  @Test(arguments: [(20, 16), (16, 40), (64, 33)])
  func cropsAreWindowsOfTheResizedPicture(_ width: Int, _ height: Int) throws {
    let picture = PictureFolder.picture(9, width: width, height: height)
    var recipe = PictureRecipe(side: 16)
    recipe.flips = false
    let whole =
      width <= height
      ? picture.resized(width: 18, height: 18 * height / width)
      : picture.resized(width: 18 * width / height, height: 18)
    var found: Set<[Int]> = []
    for place in 0..<60 {
      let crop = try square(recipe, picture, place: place)
      let matches = (0...whole.width - 16).flatMap { x in (0...whole.height - 16).map { [x, $0] } }
        .filter { whole.cropped(x: $0[0], y: $0[1], width: 16, height: 16) == crop }
      #expect(matches.count >= 1)
      found.insert(matches.first ?? [])
    }
    // 60 draws from at least nine windows miss five of them with a chance below 10⁻⁹.
    #expect(found.count > 4)
    let xs = found.map { $0[0] }
    #expect(xs.min() == 0 && xs.max() == whole.width - 16)
  }

  @Test func halfOfThePicturesAreMirroredUnlessTheirClassIsNot() throws {
    var recipe = PictureRecipe.evaluation(side: 16)
    recipe.flips = true
    let picture = PictureFolder.picture(5)
    let upright = picture.fitted(to: 16)
    let results = try (0..<200).map { try square(recipe, picture, place: $0) }
    let mirrored = results.count { $0 == upright.mirrored() }
    #expect(results.allSatisfy { $0 == upright || $0 == upright.mirrored() })
    // Five standard deviations of 200 coins.
    #expect(abs(mirrored - 100) < 36)
    let bytes = try picture.encoded(as: .png)
    for place in 0..<20 {
      var draws = draws(place)
      #expect(try recipe.square(bytes, name: "", flips: false, &draws).square == upright)
    }
  }

  @Test func artworkIsKeptWholeOnItsBackground() throws {
    let path = URL(filePath: Shards.path("pax")).deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "pictures/rgba.png").path
    let bytes = try [UInt8](Data(contentsOf: URL(filePath: path)))
    var recipe = PictureRecipe.evaluation(side: 40, framing: .whole)
    var draws = draws(0)
    let white = try recipe.square(bytes, name: path, &draws).square
    #expect(
      white
        == (try Picture(contentsOf: path, over: .white)).fitted(
          to: 40, fit: .pad, background: .white))
    recipe.background = .pastel(share: 1)
    let corners = try (0..<8).map { place in
      var draws = self.draws(place)
      return try recipe.square(bytes, name: path, &draws).square[0, 0]
    }
    #expect(Set(corners).count > 4)
    #expect(corners.allSatisfy { min($0.red, $0.green, $0.blue) >= 180 })
    recipe.background = .pastel(share: 0)
    var again = self.draws(0)
    #expect(try recipe.square(bytes, name: path, &again).square == white)
  }

  @Test func aWarpThatDoesNothingOnlyHalves() {
    let picture = PictureFolder.picture(4, width: 24, height: 24)
    let still = Warp(degrees: 0, scale: 1, shift: (0, 0))
    let half = still.applied(to: picture, side: 12, outside: .white)
    for y in 0..<12 {
      for x in 0..<12 {
        let four = [(0, 0), (1, 0), (0, 1), (1, 1)].map { picture[2 * x + $0.0, 2 * y + $0.1] }
        let mean = four.reduce(0.0) { $0 + Double($1.green) } / 4
        #expect(abs(Double(half[x, y].green) - mean) <= 0.5)
      }
    }
  }

  @Test func warpsTurnShiftAndEnlarge() {
    var pixels = [UInt8](repeating: 0, count: 32 * 32 * 3)
    // A white square of four pixels in the upper right quarter.
    for (x, y) in [(22, 8), (23, 8), (22, 9), (23, 9)] {
      for channel in 0..<3 { pixels[(y * 32 + x) * 3 + channel] = 255 }
    }
    let picture = Picture(width: 32, height: 32, pixels: pixels)
    func brightest(_ warp: Warp) -> [Int] {
      let result = warp.applied(to: picture, side: 16, outside: .black)
      let places = (0..<16).flatMap { y in (0..<16).map { [$0, y] } }
      return places.max { result[$0[0], $0[1]].red < result[$1[0], $1[1]].red }!
    }
    #expect(brightest(Warp(degrees: 0, scale: 1, shift: (0, 0))) == [11, 4])
    #expect(brightest(Warp(degrees: 0, scale: 1, shift: (0.125, -0.0625))) == [13, 3])
    // A quarter turn takes the upper right to the lower right.
    #expect(brightest(Warp(degrees: 90, scale: 1, shift: (0, 0))) == [11, 11])
    // From the middle (8, 8), the point (11.5, 4.5) goes to (13.25, 2.75).
    #expect(brightest(Warp(degrees: 0, scale: 1.5, shift: (0, 0))) == [13, 2])
  }

  @Test func turningHuesKeepsGreysAndComesBackAfterAFullTurn() {
    let grey = Picture(width: 2, height: 1, pixels: [10, 10, 10, 200, 200, 200])
    #expect(grey.withHueTurned(degrees: 77) == grey)
    let colors = PictureFolder.picture(12)
    #expect(colors.withHueTurned(degrees: 360) == colors)
    let red = Picture(width: 1, height: 1, pixels: [180, 60, 60]).withHueTurned(degrees: 120)[0, 0]
    #expect(red.green != 60 && max(red.green, red.blue) > red.red)
  }

  @Test func badSettingsAreNamed() {
    var recipe = PictureRecipe(side: 0)
    expectTrainingError(.setting, "side", "0") { try recipe.validate() }
    recipe.side = 8
    recipe.rotation = 200
    expectTrainingError(.setting, "rotation", "200") { try recipe.validate() }
  }
}
