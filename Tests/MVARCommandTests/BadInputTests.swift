import Foundation
import MVAR
import Pictures
import Testing
import Torch
import TorchTestSupport

extension CommandTests {
  /// Everything that can be wrong ends in one line and leaves nothing behind.
  @Suite struct BadInputTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    /// Expects a failure after which the folder is as it was.
    private func expect(
      _ status: Int32, _ parts: String..., from arguments: [String],
      at location: SourceLocation = #_sourceLocation
    ) throws {
      let before = try folder.contents
      let run = try Mvar.run(arguments, in: folder)
      run.expectFailure(status, parts, at: location)
      #expect(run.output.isEmpty, sourceLocation: location)
      #expect(try folder.contents == before, sourceLocation: location)
    }

    @Test(arguments: [
      (["--top-p", "1.5"], "top-p is 1.5"), (["--top-p", "0"], "top-p is 0"),
      (["--top-p", "-0.5"], "top-p is -0.5"), (["--top-p", "much"], "'much'"),
      (["--guidance", "-1"], "guidance is -1"), (["--guidance", "nan"], "guidance is nan"),
      (["--top-k", "-3"], "top-k is -3"), (["--count", "0"], "count is 0"),
      (["--count", "-2"], "count is -2"), (["--batch", "0"], "batch is 0"),
      (["--threads", "0"], "threads is 0"), (["--seed", "-1"], "'-1'"),
      (["--dtype", "int8"], "'int8'"), (["--device", "tpu"], "'tpu'"),
      (["--format", "gif"], "'gif'"), (["--grid", "grid.gif"], "grid.gif"),
      (["--trace", "trace.txt"], "trace.txt"), (["--frobnicate"], "'--frobnicate'"),
      (["--class", ""], "no class is named"), (["--class", "1,,2"], "item 2"),
      (["--class", "4-2"], "\"4-2\" is reversed"),
      (["--class", "0-4", "--batch", "2", "--trace", "t.safetensors"], "--batch 2"),
      (["--class", "0", "--count", "9223372036854775807"], "count is 9223372036854775807"),
    ]) func usage(_ arguments: [String], _ part: String) throws {
      try expect(2, part, from: Golden.mvar64.sampling + arguments)
    }

    @Test func usageOfCommands() throws {
      try expect(2, "--model", "mvar sample --help", from: ["sample"])
      try expect(2, "'draw'", from: ["draw"])
      try expect(2, "x.pth", ".safetensors", from: ["convert", "a.pth", "x.pth"])
      try expect(2, "depth is 0", from: ["bench", "--depth", "0"])
      try expect(2, "image-size is 300", from: ["bench", "--image-size", "300"])
      let model = Golden.mvar64.modelFile
      try expect(2, model, "--tokenizer", from: ["sample", "--model", model])
      let image = fixture("preprocess/tall.jpg")
      let reconstruct = ["reconstruct", "--tokenizer", Golden.tokenizerFile, "--image", image]
      try expect(2, "scales", from: reconstruct + ["--out", "x.png", "--scales", "1,zwei"])
      try expect(2, "scales", from: reconstruct + ["--out", "x.png", "--scales", "0"])
      try expect(2, "x.png", "2 pictures", from: reconstruct + [image, "--out", "x.png"])
    }

    @Test(arguments: [("5", "0...4"), ("0-7", "0...4"), ("macaw", "0...4")])
    func classes(_ text: String, _ part: String) throws {
      try expect(1, part, from: Golden.mvar64.sampling + ["--class", text])
    }

    @Test func unknownNameOfAThousand() throws {
      var tensors = try tensors(of: Golden.mvar64.modelFile)
      let index = tensors.firstIndex { $0.name == "class_emb.weight" }!
      tensors[index].tensor = .zeros([1001, 128])
      try TensorFile.write(tensors, to: folder.file("thousand.safetensors"))
      let arguments = [
        "sample", "--model", "thousand.safetensors", "--tokenizer", Golden.tokenizerFile,
      ]
      try expect(1, "\"makaw\"", "88 (macaw)", from: arguments + ["--class", "makaw"])
      try expect(1, "0...999", from: arguments + ["--class", "1000"])
    }

    @Test func notACheckpoint() throws {
      try folder.write(Data("hello, world, this is text".utf8), to: "text.pth")
      try folder.write(Data(), to: "empty.pth")
      try folder.write(Data((0..<200).map { UInt8($0) }), to: "bytes.pth")
      for name in ["text.pth", "empty.pth", "bytes.pth", "missing.pth"] {
        try expect(1, name, from: ["info", name])
        try expect(1, name, from: ["sample", "--model", name])
        try expect(1, name, from: ["convert", name, "x.safetensors"])
      }
      try expect(1, "folder", from: ["info", "."])
    }

    @Test(arguments: [0.1, 0.5, 0.95, 0.9999]) func truncatedZip(_ part: Double) throws {
      let whole = try Data(contentsOf: URL(filePath: Golden.mvar64.modelFile))
      try folder.write(whole.prefix(Int(Double(whole.count) * part)), to: "cut.pth")
      try expect(1, "cut.pth", from: ["info", "cut.pth"])
      try expect(1, "cut.pth", from: ["convert", "cut.pth", "x.safetensors"])
    }

    @Test func truncatedSafetensors() throws {
      try TensorFile.write(
        try tensors(of: Golden.mvar64.modelFile), to: folder.file("whole.safetensors"))
      let whole = try Data(contentsOf: URL(filePath: folder.file("whole.safetensors")))
      for count in [4, 100, whole.count / 2, whole.count - 1] {
        try folder.write(whole.prefix(count), to: "cut.safetensors")
        try expect(1, "cut.safetensors", from: ["info", "cut.safetensors"])
      }
    }

    @Test(arguments: [
      #"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#,
      #"{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}"#,
      #"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#,
      #"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#,
      #"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#,
      #"{"a":"#,
    ]) func safetensorsHeader(_ header: String) throws {
      for length in [UInt64(header.utf8.count), 1 << 40, .max] {
        var bytes = withUnsafeBytes(of: length.littleEndian) { Data($0) }
        bytes += Data(header.utf8) + Data(count: 8)
        try folder.write(bytes, to: "bad.safetensors")
        try expect(1, "bad.safetensors", from: ["info", "bad.safetensors"])
      }
    }

    @Test func pickleThatCallsTheSystem() throws {
      let file = fixture("checkpoints/malicious.pth")
      try expect(1, "malicious.pth", "system", from: ["info", file])
      try expect(1, "malicious.pth", "system", from: ["sample", "--model", file])
      try expect(1, "malicious.pth", "system", from: ["convert", file, "x.safetensors"])
    }

    @Test func missingAndMisshapenTensors() throws {
      let all = try tensors(of: Golden.mvar64.modelFile)
      let name = "blocks.1.attn.proj.weight"
      try TensorFile.write(all.filter { $0.name != name }, to: folder.file("less.safetensors"))
      let odd = all.map { $0.name == name ? (name, Tensor.zeros([128, 64])) : $0 }
      try TensorFile.write(odd, to: folder.file("odd.safetensors"))
      for (file, word) in [("less.safetensors", "missing"), ("odd.safetensors", "misshapen")] {
        let arguments = ["sample", "--model", file, "--tokenizer", Golden.tokenizerFile]
        try expect(1, file, word, name, from: arguments + Mvar.exact)
      }
    }

    @Test(arguments: [("the vocabulary", [256, 16]), ("the length of a code", [512, 8])])
    func tokenizerOfAnotherModel(_ what: String, _ shape: [Int]) throws {
      var tensors = try tensors(of: Golden.tokenizerFile)
      let index = tensors.firstIndex { $0.name == "quantize.embedding.weight" }!
      tensors[index].tensor = .zeros(shape)
      try TensorFile.write(tensors, to: folder.file("other.safetensors"))
      let arguments = [
        "sample", "--model", Golden.mvar64.modelFile, "--tokenizer", "other.safetensors",
      ]
      try expect(1, "other.safetensors", what, from: arguments + Mvar.exact)
    }

    @Test func modelAndTokenizerSwapped() throws {
      let arguments = ["--model", Golden.tokenizerFile, "--tokenizer", Golden.mvar64.modelFile]
      try expect(1, "tokenizer.pth", "no model", from: ["sample"] + arguments)
      let model = Golden.mvar64.modelFile
      try expect(
        1, "mvar.pth", "no tokenizer",
        from: ["sample", "--model", model, "--tokenizer", model, "--out", "x"])
    }

    @Test func placesThatCannotBeWritten() throws {
      let sample = Golden.mvar64.sampling
      try folder.write(Data("x".utf8), to: "file")
      for out in ["file", "file/folder", "/proc/mvar", "/dev/null/x"] {
        try expect(1, out, from: sample + ["--out", out])
      }
      for flag in ["--trace", "--json", "--grid"] {
        let file = "nowhere/x" + (flag == "--trace" ? ".safetensors" : ".png")
        try expect(1, file, "make the folder first", from: sample + [flag, file])
      }
      try expect(
        1, "nowhere/x.safetensors",
        from: ["convert", Golden.mvar64.modelFile, "nowhere/x.safetensors"])
    }

    @Test(.enabled(if: access("/dev/full", W_OK) == 0)) func fullDisk() throws {
      let manager = FileManager.default
      for name in ["full.png", "full.json"] {
        try manager.createSymbolicLink(
          atPath: folder.file(name), withDestinationPath: "/dev/full")
      }
      let image = fixture("preprocess/tall.jpg")
      try expect(
        1, "full.png", "No space left",
        from: ["reconstruct", "--tokenizer", Golden.tokenizerFile, "--image", image]
          + ["--out", "full.png", "--scales", "1,2"] + Mvar.exact)
      let run = try Mvar.run(
        Golden.mvar64.sampling + ["--quiet", "--json", "full.json"], in: folder)
      run.expectFailure(1, ["full.json", "No space left"])
      let info = try Mvar.shell(
        "\"$0\" \"$@\" >/dev/full", ["info", Golden.tokenizerFile], in: folder)
      info.expectFailure(1, ["standard output", "No space left"])
    }

    @Test func picturesThatAreNone() throws {
      let whole = try Data(contentsOf: URL(filePath: fixture("preprocess/rgb.png")))
      try folder.write(whole.prefix(whole.count / 2), to: "cut.png")
      try folder.write(Data("no picture".utf8), to: "text.png")
      try folder.write(Data(), to: "empty.png")
      let files = ["cut.png", "text.png", "empty.png", "missing.png"]
      let tokenizer = ["--tokenizer", Golden.tokenizerFile]
      for file in files + [fixture("pictures/gigapixel.png")] {
        try expect(
          1, file, from: ["reconstruct", "--image", file, "--out", "out"] + tokenizer)
        try expect(
          1, file, from: ["tokenize", "--image", file, "--out", "o.safetensors"] + tokenizer)
      }
    }

    @Test func tokensThatAreNone() throws {
      let arguments = ["detokenize", "--tokenizer", Golden.tokenizerFile, "--out", "x", "--tokens"]
      try TensorFile.write(
        [("tokens.0", .of([Int64(512)], shape: [1, 1]))], to: folder.file("big.safetensors"))
      try expect(1, "token 512", from: arguments + ["big.safetensors"] + Mvar.exact)
      try TensorFile.write(
        [("other", .of([Int64(5)], shape: [1, 1]))], to: folder.file("none.safetensors"))
      try expect(1, "none.safetensors", "tokens.0", from: arguments + ["none.safetensors"])
    }

    @Test(.enabled(if: access("/dev/nvidiactl", F_OK) != 0)) func noGPU() throws {
      for name in ["cuda", "cuda:3"] {
        try expect(1, "cuda:", "--device cpu", from: Golden.mvar64.sampling + ["--device", name])
      }
    }

    @Test(arguments: [Golden.var128, .mvar64]) func outOfMemory(_ golden: Golden) throws {
      let many = ["--count", "20000", "--batch", "20000", "--class", "1"]
      let run = try Mvar.shell(
        "ulimit -v 1800000; exec \"$0\" \"$@\"", golden.sampling + many, in: folder)
      run.expectFailure(1, ["out of memory", "smaller batch"])
      #expect(try folder.contents.isEmpty)
    }
  }
}
