import FeatureNetworks
import Foundation
import MVAR
import Pictures
import Testing
import Torch
import TorchTestSupport

extension CommandTests {
  @Suite struct EvaluateTests {
    let folder: TemporaryFolder

    init() throws {
      folder = try TemporaryFolder()
      try LibTorch.load()
      try FileManager.default.createSymbolicLink(
        atPath: folder.file("network.safetensors"), withDestinationPath: Self.network)
    }

    /// EfficientNet-Lite0 with weights by formula; one file, written anew by each run of the tests.
    private static let network: String = {
      let path = NSTemporaryDirectory() + "mvar-formula-efficientnet.safetensors"
      let recorded = RecordedWeights(FormulaSource())
      _ = EfficientNetLite0(Parameters(recorded, dtype: .float32, device: .cpu))
      try! TensorFile.write(recorded.tensors, to: path)
      return path
    }()

    private static let measuring = [
      "--network", "efficientnet-lite0", "--efficientnet", "network.safetensors", "--any-weights",
      "--no-cache",
    ]

    private func evaluate(_ arguments: [String], measuring: [String] = Self.measuring) throws
      -> Mvar
    {
      try Mvar.run(["evaluate"] + arguments + measuring + Mvar.exact, in: folder)
    }

    private func pictures(_ name: String, _ indices: Range<Int>) throws {
      try FileManager.default.createDirectory(
        atPath: folder.file(name), withIntermediateDirectories: true)
      for (index, picture) in zip(indices, Expected.pictures(indices)) {
        try picture.write(to: folder.file("\(name)/\(1000 + index).png"))
      }
    }

    private func record(_ text: String) throws -> [String: Any] {
      try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    }

    private func generating(_ out: String, samples: Int = 6) -> [String] {
      [
        "--model", Golden.mvar64.modelFile, "--tokenizer", Golden.tokenizerFile, "--samples",
        "\(samples)", "--batch", "1", "--out", out, "--reference", "real", "--size", "64",
        "--distances-only",
      ]
    }

    @Test func twoFolders() throws {
      try pictures("real", 0..<9)
      try pictures("made", 100..<107)
      let run = try evaluate([
        "--images", "made", "--reference", "real", "--statistics", "made.npz", "--json",
      ]).expectSuccess()
      let result = try #require(try record(run.output)["result"] as? [String: Any])
      #expect(result["metric"] as? String == "FD-EfficientNet-Lite0 (other weights)")
      #expect(result["pictures"] as? Int == 7 && result["reference_pictures"] as? Int == 9)
      let distance = try #require(result["frechet_distance"] as? Double)
      #expect(distance > 0)
      #expect(result["precision"] is Double && result["kid"] is [String: Any])
      #expect(result["sfid"] == nil && result["inception_score"] == nil)
      #expect(run.errors.contains("the pictures are 7"))
      // What was measured is a reference, and stands for the pictures.
      let again = try evaluate([
        "--images", "made.npz", "--reference", "real", "--distances-only",
      ]).expectSuccess()
      #expect(again.output.contains("| pictures |") && again.output.contains("made.npz"))
      #expect(again.output.contains("7 pictures against 9 real ones"))
    }

    @Test func aModelInterruptedAndShared() throws {
      try pictures("real", 0..<6)
      let whole = try evaluate(generating("whole") + ["--json", "--npz", "made.npz"])
        .expectSuccess()
      let expected = try record(whole.output)
      let settings = try #require(expected["settings"] as? [String: Any])
      #expect(settings["samples"] as? Int == 6 && settings["classes"] as? Int == 5)
      #expect(
        try record(String(contentsOfFile: folder.file("whole/result.json"), encoding: .utf8))
          .keys.sorted() == expected.keys.sorted())

      // Stopped once some pictures are there, and begun again as two processes.
      let running = try Mvar.Running(
        Mvar.path,
        ["evaluate"] + generating("parts") + ["--npz", "parts.npz"] + Self.measuring + Mvar.exact,
        in: folder)
      let first = folder.file("parts/features-0-0.records")
      for _ in 0..<1200 where access(first, F_OK) != 0 { usleep(20_000) }
      kill(running.processIdentifier, SIGINT)
      let stopped = try running.finish()
      #expect(stopped.status == 130 || stopped.status == 0, "\(stopped.errors)")
      if stopped.status == 130 { #expect(stopped.errors.contains("goes on from there")) }

      let second = try Mvar.Running(
        "/usr/bin/env",
        ["RANK=1", "WORLD_SIZE=2", Mvar.path, "evaluate"] + generating("parts")
          + ["--npz", "parts.npz"] + Self.measuring + Mvar.exact, in: folder)
      let together = try Mvar.shell(
        "RANK=0 WORLD_SIZE=2 exec \"$0\" \"$@\"",
        ["evaluate"] + generating("parts") + ["--npz", "parts.npz", "--json"] + Self.measuring
          + Mvar.exact, in: folder)
      #expect(try second.finish().status == 0)
      together.expectSuccess()
      func distance(_ record: [String: Any]) throws -> Double {
        try #require((record["result"] as? [String: Any])?["frechet_distance"] as? Double)
      }
      let (a, b) = (try distance(expected), try distance(record(together.output)))
      // Pictures are drawn and measured one by one, so that even their roundings are the same.
      #expect(
        try Data(contentsOf: URL(filePath: folder.file("made.npz")))
          == Data(contentsOf: URL(filePath: folder.file("parts.npz"))))
      #expect(abs(a - b) < 1e-6 * a)
      // Batches of another size round otherwise.
      let other = try evaluate([
        "--images", "made.npz", "--reference", "real", "--size", "64", "--distances-only", "--json",
      ]).expectSuccess()
      #expect(abs(a - (try distance(record(other.output)))) < 1e-3 * a)

      try evaluate(generating("parts") + ["--guidance", "3", "--quiet"])
        .expectFailure(1, ["parts", "guidance 1.5 where this one has 3.0", "--out"])
    }

    @Test func sweep() throws {
      try pictures("real", 0..<6)
      let run = try evaluate(
        generating("sweep", samples: 2) + ["--sweep", "guidance=1,2"]
      ).expectSuccess()
      #expect(run.output.contains("| guidance |") && run.output.contains("| 2.0 "))
      let svg = try String(contentsOfFile: folder.file("sweep/sweep.svg"), encoding: .utf8)
      #expect(svg.contains("<circle") && svg.contains("guidance"))
      let names = try FileManager.default.contentsOfDirectory(atPath: folder.file("sweep")).sorted()
      #expect(names == ["guidance-1.0", "guidance-2.0", "sweep.json", "sweep.svg"])
    }

    @Test func reconstruction() throws {
      try pictures("val", 0..<5)
      let run = try Mvar.run(
        [
          "evaluate", "reconstruction", "--tokenizer", Golden.tokenizerFile, "--model",
          Golden.mvar64.modelFile, "--data", "val", "--batch", "2", "--json",
        ] + Self.measuring.dropLast() + ["--device", "cpu", "--threads", "2"], in: folder
      ).expectSuccess()
      let result = try #require(try record(run.output)["result"] as? [String: Any])
      for key in ["psnr", "ssim", "perceptual_efficientnet_lite0"] {
        #expect(result[key] is Double)
      }
      let codebook = try #require(result["codebook"] as? [[String: Any]])
      #expect(codebook.last?["scale"] as? String == "all")
      let distance = try #require(result["distance"] as? [String: Any])
      #expect(distance["frechet_distance"] is Double && distance["precision"] is Double)
    }

    @Test func whatCannotBe() throws {
      try pictures("real", 0..<3)
      let images = ["--images", "real", "--reference", "real"]
      try Mvar.run(
        ["evaluate", "reconstruction", "--tokenizer", Golden.tokenizerFile, "--data", "real"]
          + ["--lpips", "vgg.pth"], in: folder
      ).expectFailure(1, ["vgg.pth", "cannot be opened"])
      try Mvar.run(["evaluate", "--reference", "real"], in: folder)
        .expectFailure(2, ["--images", "--model"])
      try evaluate(images, measuring: ["--inception", "network.safetensors"])
        .expectFailure(1, ["network.safetensors", "SHA-256", "6726825d0af5f729…"])
      try evaluate(["--images", "real", "--reference", "nowhere"])
        .expectFailure(1, ["nowhere", "check the path"])
      try Mvar.run(
        ["evaluate", "--model", "x.pth", "--reference", "real", "--sweep", "speed=1"], in: folder
      ).expectFailure(2, ["sweep", "guidance=1.0:3.0:0.25"])
      try Picture(width: 9, height: 9, filledWith: .black).write(to: folder.file("real/9.png"))
      try evaluate(images).expectFailure(1, ["real/", "--size 9"])
    }

    @Test func benchmark() throws {
      let run = try Mvar.run(
        [
          "evaluate", "bench", "--side", "80", "--batch", "1", "--batches", "1", "--real", "50",
          "--generated", "60", "--length", "64", "--device", "cpu", "--threads", "2", "--json",
        ], in: folder
      ).expectSuccess()
      let result = try record(run.output)
      #expect(try #require(result["pictures_per_second"] as? Double) > 0)
      #expect(try #require(result["seconds_for_precision_and_recall"] as? Double) > 0)
    }
  }
}
