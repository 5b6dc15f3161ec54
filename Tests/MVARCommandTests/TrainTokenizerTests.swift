import Foundation
import Pictures
import Testing
import TorchTestSupport

/// `mvar train tokenizer` and `mvar plot`, as a user runs them.
@Suite struct TrainTokenizerTests {
  /// Eight pictures of 12 × 10 pixels.
  private func pictures(in folder: TemporaryFolder) throws {
    try FileManager.default.createDirectory(
      atPath: folder.file("pictures/a"), withIntermediateDirectories: true)
    for number in 0..<8 {
      let pixels = (0..<12 * 10 * 3).map { UInt8(($0 * (number + 3) + 31 * number) & 255) }
      try Picture(width: 12, height: 10, pixels: pixels)
        .write(to: folder.file("pictures/a/\(number).png"))
    }
  }

  private func arguments(_ out: String, steps: Int = 30) -> [String] {
    [
      "train", "tokenizer", "--data", "pictures", "--out", out, "--resolution", "8",
      "--multipliers",
      "1,1", "--residual-blocks", "1", "--no-attention", "--codes", "16", "--code-width", "4",
      "--phis", "2", "--batch", "3", "--steps", "\(steps)", "--perceptual", "none",
      "--adversarial-weight", "0", "--save-every", "2", "--log-every", "1", "--device", "cpu",
      "--threads", "1",
    ]
  }

  private func bytes(_ path: String) throws -> Data { try Data(contentsOf: URL(filePath: path)) }

  @Test func aKilledRunEndsWithTheSameTokenizer() throws {
    let folder = try TemporaryFolder()
    try pictures(in: folder)
    let run = try Mvar.run(arguments("whole"), in: folder).expectSuccess()
    #expect(run.output.contains("whole/tokenizer.safetensors"))

    let running = try Mvar.Running(Mvar.path, arguments("killed"), in: folder)
    let first = folder.file("killed/checkpoints/step-0000002/state.json")
    for _ in 0..<3000 where !FileManager.default.fileExists(atPath: first) { usleep(20_000) }
    kill(running.processIdentifier, SIGKILL)
    #expect(try running.finish().status != 0)
    #expect(!FileManager.default.fileExists(atPath: folder.file("killed/tokenizer.safetensors")))
    // The run keeps its settings.
    try Mvar.run(
      [
        "train", "tokenizer", "--data", "pictures", "--out", "killed", "--resume", "--save-every",
        "2",
      ]
        + ["--log-every", "1", "--device", "cpu", "--threads", "1"], in: folder
    ).expectSuccess()
    let expected = try bytes(folder.file("whole/tokenizer.safetensors"))
    #expect(try bytes(folder.file("killed/tokenizer.safetensors")) == expected)

    // What came out is read by the other commands, which know its scales.
    try Mvar.run(
      ["reconstruct", "--tokenizer", "killed/tokenizer.safetensors", "--image", "pictures/a/1.png"]
        + ["--out", "back.png", "--device", "cpu"], in: folder
    ).expectSuccess()
    #expect(try Picture(contentsOf: folder.file("back.png")).width == 8)

    let plot = try Mvar.run(["plot", "whole", "killed", "--out", "curves.svg"], in: folder)
    #expect(plot.expectSuccess().output.contains("2 runs"))
    let svg = try String(contentsOfFile: folder.file("curves.svg"), encoding: .utf8)
    #expect(svg.components(separatedBy: "<polyline").count == 3)
  }

  /// Which pictures it learns from comes back by itself as well.
  @Test func aRunGoesOnWithItsPictures() throws {
    let folder = try TemporaryFolder()
    try pictures(in: folder)
    func run(_ out: String, _ data: String, _ more: [String]) throws -> Mvar {
      try Mvar.run(
        [
          "train", "tokenizer", "--data", data, "--out", out, "--resume", "--device", "cpu",
          "--threads", "1",
        ] + more, in: folder)
    }
    // A share that takes others than the usual one.
    let begun = try Mvar.run(arguments("run", steps: 2) + ["--hold-out", "0.4"], in: folder)
    #expect(!begun.expectSuccess().errors.contains(" 0 held out"), "\(begun.errors)")
    try run("run", "pictures", ["--steps", "3"]).expectSuccess()
    try run("run", "pictures", ["--epochs", "9223372036854775807", "--quiet"])
      .expectFailure(2, ["epochs is 9223372036854775807; use 1 to 1000000000"])
    try run("run", "pictures", ["--steps", "4", "--quiet", "--hold-out", "0.5"])
      .expectFailure(1, ["the run in this folder has other settings", "hold-out is 0.4, not 0.5"])
    // Earlier versions kept none of it, and were told again.
    let path = "run/checkpoints/step-0000003/state.json"
    let state = try String(contentsOfFile: folder.file(path), encoding: .utf8)
    let older = state.split(separator: "\n").filter { !$0.contains("\"holdOut\"") }
    #expect(older.count == state.split(separator: "\n").count - 1)
    try folder.write(Data(older.joined(separator: "\n").utf8), to: path)
    try run("run", "pictures", ["--steps", "4", "--hold-out", "0.4"]).expectSuccess()
    try run("run", "pictures", ["--steps", "5"]).expectSuccess()

    let rows = (0..<8).map { "pictures/a/\($0).png,a,\($0 < 5 ? "train" : "test")\n" }
    try folder.write(Data(("file,class,split\n" + rows.joined()).utf8), to: "table.csv")
    try Mvar.run(
      arguments("other", steps: 2)
        + ["--data", "table.csv", "--split", "train", "--held-out-split", "test"], in: folder
    ).expectSuccess()
    let more = try run("other", "table.csv", ["--steps", "3"]).expectSuccess()
    #expect(more.errors.contains("table.csv: 5 pictures to learn from, 3 held out"))
    try run("other", "table.csv", ["--steps", "4", "--quiet", "--split", "test"])
      .expectFailure(1, ["split is train, not test"])
  }

  /// What it computes in as well, which `auto` may not come to on every machine.
  @Test func aRunGoesOnInItsPrecision() throws {
    let folder = try TemporaryFolder()
    try pictures(in: folder)
    func resume(_ steps: Int, _ more: String...) throws -> Mvar {
      try Mvar.run(
        [
          "train", "tokenizer", "--data", "pictures", "--out", "run", "--resume", "--device", "cpu",
          "--threads", "1", "--steps", "\(steps)",
        ] + more, in: folder)
    }
    func precision(_ step: Int) throws -> String? {
      let state = try bytes(folder.file("run/checkpoints/step-000000\(step)/state.json"))
      let object = try JSONSerialization.jsonObject(with: state) as? [String: Any]
      return (object?["settings"] as? [String: Any])?["dtype"] as? String
    }
    try Mvar.run(arguments("run", steps: 2) + ["--dtype", "bfloat16"], in: folder).expectSuccess()
    try resume(3).expectSuccess()
    #expect(try precision(3) == "bfloat16")
    try resume(4, "--quiet", "--dtype", "float32").expectFailure(
      1, ["the run in this folder has other settings", "dtype is bfloat16, not float32"])
    try resume(4, "--dtype", "auto").expectSuccess()
    #expect(try precision(4) == "bfloat16")
    // Earlier versions did not keep it, and went on in float32 unless told otherwise.
    let path = "run/checkpoints/step-0000004/state.json"
    let state = try String(contentsOfFile: folder.file(path), encoding: .utf8)
    let older = state.split(separator: "\n").filter { !$0.contains("\"dtype\"") }
    try folder.write(Data(older.joined(separator: "\n").utf8), to: path)
    try resume(5).expectSuccess()
    #expect(try precision(5) == "float32")
  }

  /// A picture of a class that is never mirrored gives the same tokenizer as with no mirroring at all.
  @Test func classesThatAreNeverMirrored() throws {
    let folder = try TemporaryFolder()
    try pictures(in: folder)
    for (out, flags) in [("never", ["--unflipped", "a"]), ("none", ["--no-flip"]), ("half", [])] {
      try Mvar.run(arguments(out, steps: 4) + flags, in: folder).expectSuccess()
    }
    let never = try bytes(folder.file("never/tokenizer.safetensors"))
    #expect(try bytes(folder.file("none/tokenizer.safetensors")) == never)
    #expect(try bytes(folder.file("half/tokenizer.safetensors")) != never)
    try Mvar.run(
      ["train", "tokenizer", "--data", "pictures", "--out", "never", "--resume", "--steps", "5"]
        + ["--device", "cpu", "--threads", "1"], in: folder
    ).expectSuccess()
  }

  @Test func manyShardsNeedMoreOpenFilesThanAShellAllows() throws {
    let folder = try TemporaryFolder()
    try FileManager.default.createDirectory(
      atPath: folder.file("pictures"), withIntermediateDirectories: true)
    for number in 0..<150 {
      try FileManager.default.copyItem(
        atPath: fixture("shards/pax.tar"), toPath: folder.file("pictures/\(number).tar"))
    }
    func run(_ out: String, _ limit: String) throws -> Mvar {
      try Mvar.shell(
        "ulimit \(limit) 100; exec \"$0\" \"$@\"", arguments(out, steps: 2) + ["--quiet"],
        in: folder)
    }
    try run("run", "-Sn").expectSuccess()
    try run("other", "-n").expectFailure(
      1, [".tar cannot be opened (Too many open files)", "ulimit -n"])
  }

  @Test func mistakesAreToldInALine() throws {
    let folder = try TemporaryFolder()
    try pictures(in: folder)
    func run(_ changes: String...) throws -> Mvar {
      try Mvar.run(arguments("run") + ["--quiet"] + changes, in: folder)
    }
    try run("--channels", "40").expectFailure(2, ["channels is 40", "multiple of 32"])
    let largest = "9223372036854775807"
    for (flag, value, bound) in [
      ("--epochs", largest, "1000000000"), ("--steps", largest, "1000000000000"),
      ("--batch", largest, "1000000"), ("--workers", "100000", "1024"),
      ("--channels", "9223372036854775776", "65536"),
    ] {
      try run(flag, value).expectFailure(2, ["\(flag.dropFirst(2)) is \(value); use", bound])
    }
    try run("--scales", "1,2,3").expectFailure(2, ["end the scales in 4"])
    try run("--batch", "9").expectFailure(1, ["pictures", "batch of 9"])
    try run("--perceptual", "lpips:vgg.pth").expectFailure(1, ["vgg.pth", "cannot be opened"])
    try run("--unflipped", "flag,a")
      .expectFailure(1, ["pictures: there is no class flag, which --unflipped names", "are a"])
    try run("--perceptual", "lpips")
      .expectFailure(1, ["LPIPS's files are empty", "VGG_FILE,LINEAR_FILE"])
    try run("--resume", "--out", "typo").expectFailure(1, ["typo has no checkpoint to go on from"])
    #expect(!FileManager.default.fileExists(atPath: folder.file("typo")))
    try Mvar.run(["plot", "pictures"], in: folder).expectFailure(1, ["pictures", "no .jsonl"])
    try Mvar.run(["plot", "x", "--out", "x.pdf"], in: folder).expectFailure(2, ["x.pdf", ".svg"])
  }
}
