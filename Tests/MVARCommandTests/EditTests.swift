import Foundation
import MVAR
import Pictures
import Testing
import TorchTestSupport

extension CommandTests {
  @Suite struct EditTests {
    let folder: TemporaryFolder

    /// in.png of 64 × 64 pixels, and masks for it.
    init() throws {
      folder = try TemporaryFolder()
      try Self.picture(64, 64).write(to: folder.file("in.png"))
      try Picture(width: 64, height: 64, filledWith: .white).write(to: folder.file("white.png"))
      try Picture(width: 64, height: 64, filledWith: .black).write(to: folder.file("black.png"))
      try Picture(width: 32, height: 64, filledWith: .white).write(to: folder.file("narrow.png"))
    }

    private static func picture(_ width: Int, _ height: Int) -> Picture {
      var pixels: [UInt8] = []
      for place in 0..<width * height {
        let (y, x) = place.quotientAndRemainder(dividingBy: width)
        pixels += [UInt8(x * 3), UInt8(y * 3), UInt8(place * 7 % 256)]
      }
      return Picture(width: width, height: height, pixels: pixels)
    }

    private func arguments(_ kind: String, _ rest: [String]) -> [String] {
      ["edit", kind, "--model", Golden.mvar64.modelFile, "--tokenizer", Golden.tokenizerFile]
        + Mvar.exact + rest
    }

    private func edit(_ kind: String, _ rest: String...) throws -> Mvar {
      try Mvar.run(arguments(kind, rest), in: folder).expectSuccess()
    }

    private func picture(_ name: String) throws -> Picture {
      try Picture(contentsOf: folder.file(name))
    }

    private func sampled(_ label: Int, seed: Int) throws -> Picture {
      let more = ["--class", "\(label)", "--seed", "\(seed)", "--quiet"]
      try Mvar.run(Golden.mvar64.sampling + more, in: folder).expectSuccess()
      return try picture("out/0000-class\(label)-seed\(seed).png")
    }

    // MARK: What comes out

    @Test func aMaskOfEverythingIsSampling() throws {
      let run = try edit(
        "inpaint", "--image", "in.png", "--mask", "black.png", "--invert", "--class", "2", "--seed",
        "7", "--out", "out.png")
      #expect(run.output == "out.png\n")
      #expect(try picture("out.png") == sampled(2, seed: 7))
      let texts = try PictureMetadata(contentsOf: folder.file("out.png"))
      let expected = [
        "Edit": "inpaint", "Image": "in.png", "Mask": "black.png", "Class": "2", "Seed": "7",
        "Edges": "hard", "Threshold": "0.5", "Fit": "pad", "Model": "mvar.pth",
      ]
      for (key, value) in expected { #expect(texts[key] == value, "\(key)") }
    }

    @Test func aBoxGetsAnotherClassAndTheRestKeepsItsPixels() throws {
      _ = try edit(
        "class", "--image", "in.png", "--box", "0,0,32,32", "--class", "1", "--keep-pixels",
        "--feather", "4", "--out", "out.png")
      let (result, original) = (try picture("out.png"), Self.picture(64, 64))
      func right(_ picture: Picture) -> Picture {
        picture.cropped(x: 36, y: 0, width: 28, height: 64)
      }
      #expect(right(result) == right(original))
      #expect(
        result.cropped(x: 0, y: 0, width: 32, height: 32)
          != original.cropped(x: 0, y: 0, width: 32, height: 32))
    }

    @Test func outpaintingGrowsThePicture() throws {
      let run = try edit(
        "outpaint", "--image", "in.png", "--left", "16", "--right", "48", "--keep-pixels",
        "--feather", "0", "--out", "wide.png")
      let wide = try picture("wide.png")
      #expect((wide.width, wide.height) == (128, 64))
      #expect(wide.cropped(x: 16, y: 0, width: 64, height: 64) == Self.picture(64, 64))
      #expect(run.errors.contains("128 × 64"))
      #expect(run.errors.contains("64 × 32"))
    }

    @Test func noStrengthIsReconstruction() throws {
      let tokenizer = ["--tokenizer", Golden.tokenizerFile]
      try Mvar.run(
        ["reconstruct", "--image", "in.png", "--out", "back.png", "--scales", "1,2,3,4"] + tokenizer
          + Mvar.exact, in: folder
      ).expectSuccess()
      _ = try edit("vary", "--image", "in.png", "--strength", "0", "--out", "same.png")
      #expect(try picture("same.png") == picture("back.png"))
    }

    @Test func variationsGoToAFolderWithRecordsPreviewsAndAGrid() throws {
      let run = try edit(
        "vary", "--image", "in.png", "--count", "3", "--seed", "4", "--out", "all", "--previews",
        "--grid", "--json", "--batch", "2")
      let names = try FileManager.default.contentsOfDirectory(atPath: folder.file("all"))
      #expect(names.count == 3 * 5 + 1)
      #expect(
        try picture("all/in-vary-seed4-scale03.png") == picture("all/in-vary-seed4.png"))
      #expect(try picture("all/grid.png").width == 3 * 66 - 2)
      struct Record: Decodable {
        struct Edit: Decodable {
          let kind: String
          let keptScales: Int
        }
        let file: String
        let seed: UInt64
        let edit: Edit
        let settings: SamplingSettings
      }
      let records = try JSONDecoder().decode([Record].self, from: Data(run.output.utf8))
      #expect(records.map(\.seed) == [4, 5, 6])
      #expect(records.map(\.file) == (4...6).map { "all/in-vary-seed\($0).png" })
      #expect(records.allSatisfy { $0.edit.kind == "vary" && $0.edit.keptScales == 2 })
    }

    @Test func interpolationGoesFromSeedToSeed() throws {
      _ = try edit(
        "interpolate", "--class", "1", "--from", "3", "--to", "9", "--steps", "3", "--out",
        "between", "--batch", "1")
      let names = try FileManager.default.contentsOfDirectory(atPath: folder.file("between"))
        .sorted()
      #expect(names == (0..<3).map { "000\($0)-class1-seed3-to9.png" })
      #expect(try Set(names.map { try picture("between/\($0)") }).count == 3)
      #expect(
        try PictureMetadata(contentsOf: folder.file("between/\(names[1])"))["Position"] == "0.5")
    }

    // MARK: Bad input

    private func expect(
      _ status: Int32, _ parts: [String], from arguments: [String],
      at location: SourceLocation = #_sourceLocation
    ) throws {
      let before = try folder.contents
      try Mvar.run(arguments, in: folder).expectFailure(status, parts, at: location)
      #expect(try folder.contents == before, sourceLocation: location)
    }

    @Test(
      arguments: [
        (["--mask", "narrow.png"], 1, ["narrow.png has 32 × 64", "in.png 64 × 64"]),
        (["--mask", "black.png"], 1, ["black.png is all black", "white"]),
        (["--mask", "white.png", "--invert"], 1, ["white.png is all white"]),
        (["--mask", "white.png", "--class", "7"], 1, ["0...4"]),
        (["--mask", "white.png", "--class", "1,2"], 2, ["1,2", "2 classes"]),
        (["--mask", "white.png", "--threshold", "1.5"], 2, ["threshold is 1.5"]),
        (["--mask", "white.png", "--feather", "-1"], 2, ["feather is -1"]),
        (["--mask", "white.png", "--edges", "round"], 2, ["'round'"]),
        (["--mask", "white.png", "--count", "0"], 2, ["count is 0"]),
        (["--mask", "white.png", "--count", "2"], 2, ["out.png", "2 pictures"]),
        (["--mask", "white.png", "--out", "in.png"], 2, ["in.png", "--out"]),
        ([], 2, ["--mask"]),
      ] as [([String], Int32, [String])]) func masksAndFlags(
        _ rest: [String], _ status: Int32, _ parts: [String]
      ) throws
    {
      let all = ["--image", "in.png", "--out", "out.png"] + rest
      try expect(status, parts, from: arguments("inpaint", all))
    }

    @Test(
      arguments: [
        ("0,0,65,64", 1, ["in.png", "0,0,65,64", "64 × 64"]),
        ("1,1,3,3", 1, ["no token", "threshold"]),
        ("1,2,3", 2, ["left,top,right,bottom"]), ("a,b,c,d", 2, ["left,top,right,bottom"]),
      ] as [(String, Int32, [String])]) func boxes(
        _ box: String, _ status: Int32, _ parts: [String]
      ) throws
    {
      try expect(
        status, parts,
        from: arguments(
          "class", ["--image", "in.png", "--box", box, "--class", "1", "--out", "out.png"]))
    }

    @Test func otherCommands() throws {
      let image = ["--image", "in.png", "--out", "out.png"]
      try expect(2, ["no margin"], from: arguments("outpaint", image))
      try expect(2, ["left is -4"], from: arguments("outpaint", image + ["--left", "-4"]))
      try expect(
        1, ["canvas", "64"], from: arguments("outpaint", image + ["--left", "90000000"]))
      try expect(2, ["strength is 2"], from: arguments("vary", image + ["--strength", "2"]))
      try expect(
        2, ["--keep-scales"],
        from: arguments("vary", image + ["--strength", "0.5", "--keep-scales", "1"]))
      try expect(
        2, ["keep-scales is 9", "4 scales"],
        from: arguments("vary", image + ["--keep-scales", "9"]))
      let seeds = ["--from", "1", "--to", "2", "--out", "x"]
      try expect(2, ["--class"], from: arguments("interpolate", seeds))
      try expect(
        2, ["steps is 1"],
        from: arguments("interpolate", seeds + ["--class", "1", "--steps", "1"]))
      try expect(
        2, ["x.png", "3 pictures"],
        from: arguments(
          "interpolate",
          ["--from", "1", "--to", "2", "--class", "1", "--steps", "3", "--out", "x.png"]))
      _ = try folder.write(Data("text".utf8), to: "text.png")
      try expect(
        1, ["text.png"],
        from: arguments("vary", ["--image", "text.png", "--out", "out.png"]))
    }
  }
}
