import Foundation
import MVAR
import Pictures
import Testing
import Torch
import TorchTestSupport

extension CommandTests {
  @Suite struct TokenTests {
    let folder: TemporaryFolder
    private let tokenizer = ["--tokenizer", Golden.tokenizerFile] + Mvar.exact

    init() throws {
      folder = try TemporaryFolder()
      try LibTorch.load()
    }

    /// The recorded pictures of a case, as files.
    private func recorded(_ golden: Golden) throws -> [String] {
      let bytes = try golden.tensor("image.uint8")
      let (B, _, H, W) = bytes.shape4
      let pixels = try bytes.permute(0, 2, 3, 1).contiguous().elements(as: UInt8.self)
      return try (0..<B).map { index in
        let size = H * W * 3
        let picture = Picture(
          width: W, height: H, pixels: Array(pixels[index * size..<(index + 1) * size]))
        try picture.write(to: folder.file("\(index).png"))
        return "\(index).png"
      }
    }

    @Test func givesTheReferencesTokens() throws {
      let golden = Golden.mvar64
      let files = try recorded(golden)
      try Mvar.run(
        ["tokenize", "--image"] + files + ["--scales", "1,2,3,4", "--out", "t.safetensors"]
          + tokenizer, in: folder
      ).expectSuccess()
      for (name, tensor) in try tensors(of: folder.file("t.safetensors")) {
        #expect(try tensor.isEqual(to: golden.tensor("tokenizer.\(name)")), "\(name)")
      }
    }

    @Test func reconstructsWhatItTokenizes() throws {
      let files = try recorded(.mvar64)
      let model = ["--model", Golden.mvar64.modelFile]
      for arguments in [
        ["tokenize", "--image"] + files + model + ["--out", "t.safetensors"],
        ["detokenize", "--tokens", "t.safetensors", "--out", "a"],
        ["reconstruct", "--image"] + files + model + ["--out", "b"],
      ] {
        try Mvar.run(arguments + tokenizer, in: folder).expectSuccess()
      }
      for index in 0..<2 {
        #expect(
          FileManager.default.contentsEqual(
            atPath: folder.file("a/000\(index).png"), andPath: folder.file("b/\(index).png")))
      }
      let picture = try Picture(contentsOf: folder.file("b/0.png"))
      #expect((picture.width, picture.height) == (64, 64))
    }

    @Test(arguments: [["--scales"], ["--show-scales"]]) func showsEveryScale(_ flag: [String])
      throws
    {
      let arguments =
        ["reconstruct"] + flag + ["--image", fixture("preprocess/tall.jpg"), "--out", "x.png"]
      let run = try Mvar.run(arguments + tokenizer, in: folder).expectSuccess()
      #expect(run.output == "x.png\n")
      let strip = try Picture(contentsOf: folder.file("x-scales.png"))
      #expect((strip.width, strip.height) == (10 * 258 - 2, 256))
      let last = strip.cropped(x: 9 * 258, y: 0, width: 256, height: 256)
      #expect(try last == Picture(contentsOf: folder.file("x.png")))
    }

    @Test(arguments: [
      ("1,2,3,5,6", 96, 96), ("1x1,2x3,4x6", 96, 64), ("256px", 256, 256),
    ]) func takesSizes(_ scales: String, _ width: Int, _ height: Int) throws {
      let arguments = [
        "reconstruct", "--scales", scales, "--image", fixture("preprocess/tall.jpg"), "--fit",
        "pad", "--out", "x.webp", "--quiet",
      ]
      let run = try Mvar.run(arguments + tokenizer, in: folder).expectSuccess()
      #expect(run.output.isEmpty && run.errors.isEmpty)
      let picture = try Picture(contentsOf: folder.file("x.webp"))
      #expect((picture.width, picture.height) == (width, height))
      #expect(try folder.contents == ["x.webp"])
    }

    @Test func neverReplacesAPictureThatItReads() throws {
      _ = try recorded(.mvar64)
      let arguments = ["reconstruct", "--image", "0.png", "--out", ".", "--scales", "1,2,3,4"]
      try Mvar.run(arguments + tokenizer, in: folder).expectFailure(2, ["0.png", "--out"])
    }

    @Test func givesPicturesOfOneNameDistinctNames() throws {
      let image = fixture("preprocess/tall.jpg")
      let arguments = ["reconstruct", "--image", image, image, "--out", "o", "--scales", "1,2"]
      let run = try Mvar.run(arguments + tokenizer, in: folder).expectSuccess()
      #expect(run.output == "o/tall.png\no/tall-2.png\n")
    }
  }
}
