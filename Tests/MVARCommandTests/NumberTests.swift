import Foundation
import MVAR
import Testing
import Torch
import TorchTestSupport

extension CommandTests {
  /// Numbers that no machine can meet, and weights that are no numbers, end in one line.
  @Suite struct NumberTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private static let most = "9223372036854775807"

    @Test(arguments: [
      ["sample", "--model", "m.pth", "--threads", "1025"],
      ["sample", "--model", "m.pth", "--threads", "3000000000"],
      ["bench", "--depth", most], ["bench", "--batch", most], ["bench", "--repeat", most],
      ["evaluate", "bench", "--side", most], ["evaluate", "bench", "--real", most],
      ["evaluate", "--images", "a", "--reference", "b", "--bootstrap", most],
      ["evaluate", "--images", "a", "--reference", "b", "--bootstrap", "100001"],
      ["evaluate", "--images", "a", "--reference", "b", "--size", most],
      ["evaluate", "--images", "a", "--reference", "b", "--measure-batch", most],
      ["evaluate", "reconstruction", "--tokenizer", "t", "--data", "b", "--bootstrap", most],
      ["edit", "vary", "--model", "m.pth", "--image", "i.png", "--out", "o", "--count", most],
    ]) func areBounded(_ arguments: [String]) throws {
      let name = arguments[arguments.count - 2].dropFirst(2)
      try Mvar.run(arguments, in: folder).expectFailure(
        2, ["\(name) is \(arguments.last!); use 1 to"])
    }

    // MARK: Weights that are no numbers

    private func write(_ file: String, _ name: String, changing tensorName: String) throws {
      var tensors = try tensors(of: file)
      let index = try #require(tensors.firstIndex { $0.name == tensorName })
      tensors[index].tensor = tensors[index].tensor * Double.nan
      try TensorFile.write(tensors, to: folder.file(name))
    }

    @Test(arguments: [[], ["--top-k", "0", "--top-p", "1"], ["--top-k", "1"], ["--previews"]])
    func logits(_ arguments: [String]) throws {
      try write(Golden.mvar64.modelFile, "m.safetensors", changing: "head.weight")
      let sample = ["sample", "--model", "m.safetensors", "--tokenizer", Golden.tokenizerFile]
      try Mvar.run(sample + arguments + Mvar.exact, in: folder)
        .expectFailure(1, ["the model's logits are no numbers", "--dtype float32"])
      #expect(try folder.contents == ["m.safetensors"])
    }

    @Test func pixels() throws {
      try write(Golden.tokenizerFile, "t.safetensors", changing: "decoder.conv_out.weight")
      let parts = ["the tokenizer's pixels are no numbers"]
      let sample = ["sample", "--model", Golden.mvar64.modelFile, "--tokenizer", "t.safetensors"]
      try Mvar.run(sample + Mvar.exact, in: folder).expectFailure(1, parts)
      let reconstruct = [
        "reconstruct", "--tokenizer", "t.safetensors", "--scales", "1,2,3,4", "--out", "o.png",
        "--image", fixture("preprocess/tall.jpg"),
      ]
      try Mvar.run(reconstruct + Mvar.exact, in: folder).expectFailure(1, parts)
      #expect(try folder.contents == ["t.safetensors"])
    }

    @Test func guidanceBeyondAllNumbers() throws {
      try Mvar.run(Golden.mvar64.sampling + ["--guidance", "1e39"], in: folder)
        .expectFailure(1, ["logits are no numbers", "guidance"])
    }

    // MARK: Nothing where something is expected

    @Test func noClasses() throws {
      var tensors = try tensors(of: Golden.mvar64.modelFile)
      let index = try #require(tensors.firstIndex { $0.name == "class_emb.weight" })
      tensors[index].tensor = .zeros([0, 128])
      try TensorFile.write(tensors, to: folder.file("m.safetensors"))
      let run = try Mvar.run(["info", "m.safetensors"], in: folder).expectSuccess()
      #expect(run.output.contains("classes       0\n"))
      let record = try Mvar.run(["info", "--json", "m.safetensors"], in: folder).expectSuccess()
      #expect(record.output.contains("\"classes\" : 0,"))
      let sample = ["sample", "--model", "m.safetensors", "--tokenizer", Golden.tokenizerFile]
      try Mvar.run(sample + Mvar.exact, in: folder).expectFailure(1, ["m.safetensors", "no rows"])
    }

    @Test func emptyNames() throws {
      let sample = Golden.mvar64.sampling
      try Mvar.run(sample + ["--out", ""], in: folder).expectFailure(1, ["name is empty"])
      try Mvar.run(sample + ["--json", ""], in: folder).expectFailure(1, ["name is empty"])
    }
  }
}
