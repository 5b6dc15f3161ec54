import CheckpointFormats
import Foundation
import MVAR
import Pictures
import Testing
import Torch
import TorchTestSupport

extension CommandTests {
  @Suite struct ConvertTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func pixels(model: String, out: String) throws -> Picture {
      let arguments = [
        "sample", "--model", model, "--tokenizer", Golden.tokenizerFile, "--class", "1", "--out",
        out, "--quiet",
      ]
      try Mvar.run(arguments + Mvar.exact, in: folder).expectSuccess()
      return try Picture(contentsOf: folder.file("\(out)/0000-class1-seed0.png"))
    }

    @Test func keepsThePicture() throws {
      let input = Golden.mvar64.modelFile
      for arguments in [["same.safetensors"], ["wide.safetensors", "--dtype", "float32"]] {
        let run = try Mvar.run(["convert", input] + arguments, in: folder).expectSuccess()
        #expect(run.output.hasPrefix("\(arguments[0]): 54 tensors, "))
      }
      let expected = try pixels(model: input, out: "a")
      #expect(try pixels(model: folder.file("same.safetensors"), out: "b") == expected)
      #expect(try pixels(model: folder.file("wide.safetensors"), out: "c") == expected)
      let summary = try CheckpointSummary(Checkpoint(folder.file("wide.safetensors")))
      #expect(summary.parts[0].dtypes == ["float32"])
    }

    @Test func readsShards() throws {
      let all = try tensors(of: Golden.mvar64.modelFile)
      let halves = ["a.safetensors": all[..<27], "b.safetensors": all[27...]]
      var map: [String: String] = [:]
      for (file, tensors) in halves {
        try TensorFile.write(Array(tensors), to: folder.file(file))
        for (name, _) in tensors { map[name] = file }
      }
      let index = try JSONSerialization.data(withJSONObject: ["weight_map": map, "metadata": [:]])
      let path = try folder.write(index, to: "model.safetensors.index.json")
      #expect(try pixels(model: path, out: "a") == pixels(model: Golden.mvar64.modelFile, out: "b"))
    }

    @Test func takesAPart() throws {
      let input = fixture("checkpoints/training.pth")
      try Mvar.run(["convert", input, "x.safetensors"], in: folder)
        .expectFailure(1, ["--part"])
      #expect(try folder.contents.isEmpty)
      let arguments = ["convert", input, "x.safetensors", "--part", "tokenizer", "--quiet"]
      let run = try Mvar.run(arguments, in: folder).expectSuccess()
      #expect(run.output.isEmpty && run.errors.isEmpty)
      let parts = try CheckpointSummary(Checkpoint(folder.file("x.safetensors"))).parts
      #expect(parts.map(\.kind) == ["tokenizer"])
    }

    @Test func neverReplacesItsInput() throws {
      try FileManager.default.copyItem(
        atPath: Golden.mvar64.modelFile, toPath: folder.file("a.safetensors"))
      try Mvar.run(["convert", "a.safetensors", "./a.safetensors"], in: folder)
        .expectFailure(2, ["./a.safetensors", "choose another name"])
      #expect(
        FileManager.default.contentsEqual(
          atPath: folder.file("a.safetensors"), andPath: Golden.mvar64.modelFile))
    }
  }
}
