import Foundation
import MVAR
import Pictures
import Testing
import Torch
import TorchTestSupport

extension CommandTests {
  @Suite struct SampleTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func sample(_ arguments: [String], _ golden: Golden = .mvar64) throws -> Mvar {
      try Mvar.run(golden.sampling + arguments, in: folder).expectSuccess()
    }

    private func picture(_ name: String) throws -> Picture {
      try Picture(contentsOf: folder.file("out/\(name)"))
    }

    @Test(arguments: Golden.all) func tracesWhatTheReferenceDraws(_ golden: Golden) throws {
      let settings = try golden.settings()
      _ = try sample(
        [
          "--class", settings.labels.map(String.init).joined(separator: ","), "--top-k", "1",
          "--top-p", "1", "--guidance", "\(settings.cfg)", "--trace", "trace.safetensors",
        ], golden)
      let trace = Dictionary(
        uniqueKeysWithValues: try tensors(of: folder.file("trace.safetensors")).map {
          ($0.name, $0.tensor)
        })
      let sides = settings.patch_nums
      #expect(trace.count == 2 * sides.count + 1)
      for (k, side) in sides.enumerated() {
        #expect(try trace["tokens.\(k)"]!.isEqual(to: golden.tensor("sample.tokens.\(k)")))
        #expect(trace["tokens.\(k)"]!.dtype == .int64)
        #expect(trace["logits.\(k)"]!.shape == [4, side * side, 512])
        #expect(trace["logits.\(k)"]!.dtype == .float32)
      }
      let image = trace["image"]!
      #expect(image.shape == [2, 3, sides.last! * 16, sides.last! * 16])
      #expect(try distance(image, golden.tensor("sample.image.float16")) < 2.0 / 255)
    }

    @Test func namesAndSeedsThePictures() throws {
      let run = try sample(["--class", "3,0-1", "--count", "2", "--seed", "7"])
      let names = [
        "0000-class3-seed7.png", "0001-class3-seed8.png", "0002-class0-seed9.png",
        "0003-class0-seed10.png", "0004-class1-seed11.png", "0005-class1-seed12.png",
      ]
      #expect(
        try FileManager.default.contentsOfDirectory(atPath: folder.file("out")).sorted() == names)
      #expect(run.output == "6 pictures in out (seeds 7-12)\n")
      let first = try picture(names[0])
      #expect((first.width, first.height) == (64, 64))
      #expect(try picture(names[1]) != first)
    }

    @Test func drawsAPictureTheSameInAnyBatch() throws {
      _ = try sample(["--class", "0,4", "--count", "3", "--batch", "4"])
      func again(_ out: String, _ classes: String, batch: Int) throws -> String {
        try Mvar.run(
          Golden.mvar64.sampling
            + ["--out", out, "--class", classes, "--seed", "3", "--batch", "\(batch)"],
          in: folder
        ).expectSuccess()
        return folder.file("\(out)/0000-class4-seed3.png")
      }
      let fourth = folder.file("out/0003-class4-seed3.png")
      // In another place among others: the same to the last bit, as a file too.
      let first = try again("first", "4,1,2,0", batch: 4)
      #expect(FileManager.default.contentsEqual(atPath: fourth, andPath: first))
      // Alone, sums are rounded otherwise: the same tokens, and pixels a step apart at most.
      let alone = try Picture(contentsOf: again("alone", "4", batch: 1))
      let pixels = zip(alone.pixels, try Picture(contentsOf: fourth).pixels)
      #expect(pixels.allSatisfy { abs(Int($0) - Int($1)) <= 1 })
      #expect(pixels.count { $0 != $1 } < 100)
    }

    @Test func writesItsSettingsIntoThePicture() throws {
      _ = try sample(["--class", "2", "--guidance", "3", "--top-k", "5", "--top-p", "0.5"])
      let texts = try PictureMetadata(contentsOf: folder.file("out/0000-class2-seed0.png"))
      let expected = [
        "Class": "2", "Seed": "0", "Guidance": "3.0", "Top-k": "5", "Top-p": "0.5",
        "Smooth": "false", "Dtype": "float32", "Model": "mvar.pth", "Tokenizer": "tokenizer.pth",
      ]
      for (key, value) in expected { #expect(texts[key] == value, "\(key)") }
      #expect(texts["Software"]?.hasPrefix("mvar ") == true)
    }

    struct Record: Decodable {
      struct Source: Decodable {
        let file: String
        let sha256: String
      }
      let file: String
      let `class`: Int
      let seed: UInt64
      let settings: SamplingSettings
      let dtype: String
      let device: String
      let model: Source
      let tokenizer: Source
      let seconds: Double
    }

    @Test(arguments: ["-", "record.json", nil]) func writesARecord(_ file: String?) throws {
      let run = try sample(["--class", "1,2", "--smooth", "--json"] + (file.map { [$0] } ?? []))
      let isFile = file == "record.json"
      let text =
        isFile ? try Data(contentsOf: URL(filePath: folder.file(file!))) : Data(run.output.utf8)
      let records = try JSONDecoder().decode([Record].self, from: text)
      #expect(records.map(\.class) == [1, 2])
      #expect(records.map(\.seed) == [0, 1])
      #expect(records.map(\.file) == ["out/0000-class1-seed0.png", "out/0001-class2-seed1.png"])
      let first = try #require(records.first)
      #expect(first.settings == SamplingSettings(smooth: true))
      #expect((first.dtype, first.device) == ("float32", "cpu"))
      #expect(first.seconds > 0)
      #expect(try first.model.sha256 == Checkpoint.digest(Golden.mvar64.modelFile))
      #expect(try first.tokenizer.sha256 == Checkpoint.digest(Golden.tokenizerFile))
    }

    @Test func writesAGrid() throws {
      _ = try sample(["--class", "0,1", "--count", "3", "--grid", "--quiet"])
      let grid = try picture("grid.png")
      #expect((grid.width, grid.height) == (3 * 66 - 2, 2 * 66 - 2))
      let fifth = grid.cropped(x: 66, y: 66, width: 64, height: 64)
      #expect(try fifth == picture("0004-class1-seed4.png"))
      _ = try sample(["--class", "0", "--grid", "other.jpg"])
      #expect(try Picture(contentsOf: folder.file("other.jpg")).width == 64)
    }

    @Test func writesPreviews() throws {
      _ = try sample(["--class", "0,1", "--previews"])
      let names = try FileManager.default.contentsOfDirectory(atPath: folder.file("out"))
      #expect(names.count == 2 * 5)
      let last = try picture("0001-class1-seed1-scale03.png")
      #expect(try last == picture("0001-class1-seed1.png"))
      #expect(try last != picture("0001-class1-seed1-scale00.png"))
    }

    @Test(arguments: [("png", "png"), ("jpeg", "jpg"), ("webp", "webp")])
    func writesFormats(_ format: String, _ ending: String) throws {
      _ = try sample(["--class", "0", "--format", format])
      #expect(try picture("0000-class0-seed0.\(ending)").width == 64)
    }

    @Test func saysHowFarItIs() throws {
      let loud = try sample(["--class", "0-4", "--batch", "2"])
      let lines = loud.errors.split(separator: "\n").map { $0.split(separator: ",")[0] }
      #expect(lines == ["mvar: 2 of 5 pictures", "mvar: 4 of 5 pictures", "mvar: 5 of 5 pictures"])
      let quiet = try sample(["--class", "0", "--quiet"])
      #expect(quiet.errors.isEmpty && quiet.output.isEmpty)
    }

    @Test func findsTheTokenizer() throws {
      let manager = FileManager.default
      for (link, target) in [
        ("model.pth", Golden.mvar64.modelFile), ("tokenizer.pth", Golden.tokenizerFile),
      ] {
        try manager.createSymbolicLink(atPath: folder.file(link), withDestinationPath: target)
      }
      try Mvar.run(["sample", "--model", "model.pth"] + Mvar.exact, in: folder).expectSuccess()
      #expect(try folder.contents.contains("pictures"))
      let both = ["sample", "--model", fixture("checkpoints/training.pth"), "--out", "both"]
      try Mvar.run(both + Mvar.exact, in: folder).expectSuccess()
    }

    @Test func keepsTheOthersWhereOneCannotBeWritten() throws {
      let blocked = "out/0001-class0-seed1.png"
      try FileManager.default.createDirectory(
        atPath: folder.file(blocked), withIntermediateDirectories: true)
      let run = try Mvar.run(
        Golden.mvar64.sampling + [
          "--quiet", "--count", "6", "--class", "0", "--batch", "3", "--json", "record.json",
        ], in: folder)
      run.expectFailure(1, [blocked])
      let record = try Data(contentsOf: URL(filePath: folder.file("record.json")))
      let files = try JSONDecoder().decode([Record].self, from: record).map(\.file)
      #expect(files.first == "out/0000-class0-seed0.png")
      #expect(files == files.sorted() && !files.contains(blocked))
      let names = try FileManager.default.contentsOfDirectory(atPath: folder.file("out")).sorted()
      #expect(names.map { "out/\($0)" } == (files + [blocked]).sorted())
      for file in files { _ = try Picture(contentsOf: folder.file(file)) }
    }

    @Test func stopsAtControlC() throws {
      let running = try Mvar.Running(
        Mvar.path,
        Golden.mvar64.sampling + [
          "--count", "10000", "--class", "0", "--batch", "1",
          "--json", "record.json",
        ], in: folder)
      let first = folder.file("out/0000-class0-seed0.png")
      for _ in 0..<600 where access(first, F_OK) != 0 { usleep(50_000) }
      kill(running.processIdentifier, SIGINT)
      let run = try running.finish()
      #expect(run.status == 130)
      #expect(run.errors.hasSuffix("mvar: interrupted\n"))
      let names = try FileManager.default.contentsOfDirectory(atPath: folder.file("out")).sorted()
      #expect((1..<10_000).contains(names.count))
      #expect(names.allSatisfy { $0.hasSuffix(".png") && !$0.hasPrefix(".") })
      let record = try Data(contentsOf: URL(filePath: folder.file("record.json")))
      let records = try JSONDecoder().decode([Record].self, from: record)
      #expect(records.map(\.file) == names.map { "out/\($0)" })
      for record in records { _ = try Picture(contentsOf: folder.file(record.file)) }
    }
  }
}
