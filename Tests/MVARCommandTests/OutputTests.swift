import Foundation
import MVAR
import Pictures
import Testing
import TorchTestSupport

extension CommandTests {
  /// What is read is never replaced, nor what the same run writes.
  @Suite struct OutputTests {
    let folder: TemporaryFolder

    /// Copies of a model and a tokenizer, in.png of the model's size, and a folder with a picture.
    init() throws {
      folder = try TemporaryFolder()
      let manager = FileManager.default
      for (name, file) in [
        ("m.safetensors", Golden.mvar64.modelFile), ("t.safetensors", Golden.tokenizerFile),
      ] {
        try TensorFile.write(tensors(of: file), to: folder.file(name))
      }
      let picture = Picture(width: 64, height: 64, filledWith: .white)
      try picture.write(to: folder.file("in.png"))
      try manager.createDirectory(atPath: folder.file("data/a"), withIntermediateDirectories: true)
      try picture.write(to: folder.file("data/a/0.png"))
      try manager.createSymbolicLink(
        atPath: folder.file("link.safetensors"), withDestinationPath: "m.safetensors")
    }

    private func contents() throws -> [String: Data?] {
      let manager = FileManager.default
      let names = try #require(manager.enumerator(atPath: folder.path)?.allObjects as? [String])
      return Dictionary(
        uniqueKeysWithValues: names.map { ($0, manager.contents(atPath: folder.file($0))) })
    }

    private func expectRefused(
      _ arguments: [String], _ parts: String..., at location: SourceLocation = #_sourceLocation
    ) throws {
      let before = try contents()
      try Mvar.run(arguments + Mvar.exact, in: folder).expectFailure(2, parts, at: location)
      #expect(try contents() == before, sourceLocation: location)
    }

    private static let model = ["--model", "m.safetensors", "--tokenizer", "t.safetensors"]

    @Test(arguments: [
      ["--tokenizer", "t.safetensors", "--out", "t.safetensors"],
      ["--tokenizer", "t.safetensors", "--model", "m.safetensors", "--out", "m.safetensors"],
      ["--tokenizer", "t.safetensors", "--model", "m.safetensors", "--out", "link.safetensors"],
    ]) func tokenize(_ arguments: [String]) throws {
      let image = ["tokenize", "--image", "in.png"]
      try expectRefused(image + arguments, arguments.last!, "which is read", "--out")
    }

    @Test(arguments: [
      (["--trace", "m.safetensors"], "--trace"), (["--trace", "link.safetensors"], "--trace"),
      (["--json", "m.safetensors"], "--json"), (["--json", "./t.safetensors"], "--json"),
    ]) func sampleKeepsItsModel(_ arguments: [String], _ option: String) throws {
      try expectRefused(
        ["sample", "--out", "out"] + Self.model + arguments, "which is read", option)
    }

    @Test(arguments: [
      (["--grid", "x.png", "--json", "x.png"], "both --grid and --json"),
      (["--trace", "x.safetensors", "--json", "./x.safetensors"], "both --trace and --json"),
      (["--grid", "--json", "out/grid.png"], "both --grid and --json"),
      (["--class", "0", "--grid", "out/0000-class0-seed0.png"], "a picture of this run"),
    ]) func sampleWritesEachFileOnce(_ arguments: [String], _ part: String) throws {
      try expectRefused(["sample", "--out", "out"] + Self.model + arguments, part)
    }

    @Test(arguments: [
      (["--json", "in.png"], "which is read"), (["--grid", "in.png"], "which is read"),
      (["--json", "m.safetensors"], "which is read"), (["--out", "./in.png"], "which is read"),
      (["--json", "v.png"], "both --out and --json"),
      (["--grid", "v.png"], "both --out and --grid"),
      (["--previews", "--grid", "v-scale01.png"], "both --out and --grid"),
    ]) func edit(_ arguments: [String], _ part: String) throws {
      let edit = ["edit", "vary", "--image", "in.png"] + Self.model
      try expectRefused(
        edit + (arguments.contains("--out") ? [] : ["--out", "v.png"]) + arguments, part)
    }

    @Test func decodingKeepsThePicturesAndTheTokenizer() throws {
      try Picture(width: 64, height: 64, filledWith: .black).write(to: folder.file("a-scales.png"))
      try expectRefused(
        ["reconstruct", "--tokenizer", "t.safetensors", "--image", "a-scales.png"]
          + ["--scales", "1,2,3,4", "--show-scales", "--out", "a.png"],
        "a-scales.png", "which is read", "--out")
      let manager = FileManager.default
      try manager.createSymbolicLink(
        atPath: folder.file("t.png"), withDestinationPath: "t.safetensors")
      try Mvar.run(
        [
          "tokenize", "--tokenizer", "t.safetensors", "--image", "in.png", "--out",
          "in.safetensors",
        ]
          + ["--scales", "1,2,3,4"] + Mvar.exact, in: folder
      ).expectSuccess()
      try expectRefused(
        ["detokenize", "--tokenizer", "t.safetensors", "--tokens", "in.safetensors"]
          + ["--out", "t.png"], "t.png", "t.safetensors", "which is read")
    }

    @Test(arguments: [
      ["--json", "data/a/0.png"], ["--json", "data/../data/a/0.png"],
      ["--reference", "real.npz", "--statistics", "real.npz"],
      ["--json", "x.npz", "--statistics", "x.npz"],
    ]) func evaluate(_ arguments: [String]) throws {
      try folder.write(Data("x".utf8), to: "real.npz")
      let reference = arguments.contains("--reference") ? [] : ["--reference", "data"]
      let both = arguments.filter { $0 == "x.npz" }.count == 2
      try expectRefused(
        ["evaluate", "--images", "data"] + reference + arguments,
        both ? "both --statistics and --json" : "which is read")
    }

    @Test func evaluateReconstruction() throws {
      let evaluate = [
        "evaluate", "reconstruction", "--tokenizer", "t.safetensors", "--data", "data", "--json",
      ]
      try expectRefused(evaluate + ["t.safetensors"], "which is read", "--json")
      try expectRefused(evaluate + ["data/a/0.png"], "a picture of data", "--json")
    }

    @Test func benchKeepsItsWeights() throws {
      try FileManager.default.createDirectory(
        atPath: folder.file("weights"), withIntermediateDirectories: true)
      try folder.write(Data("x".utf8), to: "weights/mvar_d16.pth")
      try expectRefused(
        ["bench", "--weights", "weights", "--json", "weights/mvar_d16.pth"], "which is read")
    }
  }
}
