import Foundation
import MVAR
import MVARTraining
import Pictures
import PortTestSupport
import Testing
import Torch
import TorchTestSupport

extension CommandTests {
  /// Runs of a tiny model on random tokens, by the built program.
  @Suite(.serialized) struct TrainModelTests {
    private let folder: TemporaryFolder

    init() throws {
      folder = try TemporaryFolder()
      try Self.tokens(12).write(to: folder.file("tokens.safetensors"))
    }

    private static func tokens(_ count: Int) throws -> TokenFile {
      let schedule = try ScaleSchedule(squares: [1, 2])
      let scales = schedule.sizes.enumerated().map { index, size in
        (0..<count * size.count).map { Int64(($0 * 37 + index * 101) % 512) }
      }
      return TokenFile(
        tokens: PictureTokens(schedule: schedule, count: count, scales: scales),
        labels: (0..<count).map { $0 % 3 }, classNames: ["cat face", "fruit", "boat"])
    }

    private func arguments(_ out: String, _ more: [String] = []) -> [String] {
      [
        "train", "model", "--data", "tokens.safetensors", "--tokenizer", Golden.tokenizerFile,
        "--out", out, "--device", "cpu", "--dtype", "float32", "--threads", "1",
      ] + more
    }

    private let toy = [
      "--depth", "1", "--batch", "4", "--steps", "15", "--save-every", "3", "--log-every", "1",
      "--base-rate", "0.05",
    ]

    /// Waits until a log has some lines; a run that never writes them fails the test.
    private func wait(for log: String, lines: Int) throws {
      for _ in 0..<30_000 {
        let text = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
        if text.split(separator: "\n").count >= lines { return }
        usleep(2000)
      }
      throw Unwritten(log: log)
    }

    private struct Unwritten: Error { let log: String }

    private func bytes(_ name: String) throws -> Data {
      try Data(contentsOf: URL(filePath: folder.file(name)))
    }

    @Test func aKilledRunEndsWithTheSameBytes() throws {
      try Mvar.run(arguments("whole", toy + ["--hold-out", "0.2"]), in: folder).expectSuccess()
      let running = try Mvar.Running(
        Mvar.path, arguments("killed", toy + ["--hold-out", "0.2"]), in: folder)
      // Killed as soon as a checkpoint is there, wherever it is then.
      let log = folder.file("killed/log.jsonl")
      try wait(for: log, lines: 5)
      kill(running.processIdentifier, SIGKILL)
      #expect(try running.finish().status == -1)
      #expect(!FileManager.default.fileExists(atPath: folder.file("killed/model.safetensors")))
      // The run's own settings come back by themselves.
      try Mvar.run(
        arguments("killed", ["--resume", "--save-every", "3"]), in: folder
      ).expectSuccess()
      #expect(try bytes("killed/model.safetensors") == bytes("whole/model.safetensors"))
      for file in ["model", "average", "optimizer"] {
        let name = "checkpoints/step-0000015/\(file).safetensors"
        #expect(try bytes("killed/\(name)") == bytes("whole/\(name)"))
      }
    }

    @Test func anInterruptedRunSaysHowToGoOn() throws {
      let running = try Mvar.Running(
        Mvar.path, arguments("run", toy + ["--steps", "100000", "--save-every", "100000"]),
        in: folder)
      let log = folder.file("run/log.jsonl")
      try wait(for: log, lines: 1)
      kill(running.processIdentifier, SIGINT)
      let run = try running.finish()
      #expect(run.status == 130)
      #expect(run.errors.contains("is saved; go on with --resume"))
      #expect(
        try FileManager.default.contentsOfDirectory(
          atPath: folder.file("run/checkpoints")
        ).count == 1)
    }

    @Test func theModelMakesPictures() throws {
      let run = try Mvar.run(
        arguments("run", toy + ["--steps", "2", "--json"]), in: folder
      ).expectSuccess()
      #expect(run.output.contains("\"steps\" : 2"))
      let info = try Mvar.run(["info", "run/model.safetensors"], in: folder).expectSuccess()
      #expect(info.output.contains("M-VAR"))
      try Mvar.run(
        [
          "sample", "--model", "run/model.safetensors", "--tokenizer", Golden.tokenizerFile,
          "--class", "1", "--out", "out",
        ] + Mvar.exact, in: folder
      ).expectSuccess()
    }

    /// What the end of a run says to use its model with does so, wherever the tokenizer lies.
    @Test func theHintCanBeFollowed() throws {
      let run = try Mvar.run(arguments("run", toy + ["--steps", "1"]), in: folder).expectSuccess()
      #expect(
        run.output.contains(
          "`mvar sample --model run/model.safetensors --tokenizer \(Golden.tokenizerFile)`"))
      try Mvar.run(
        [
          "sample", "--model", "run/model.safetensors", "--tokenizer", Golden.tokenizerFile,
          "--class", "1", "--out", "out",
        ] + Mvar.exact, in: folder
      ).expectSuccess()
      try FileManager.default.copyItem(
        atPath: Golden.tokenizerFile, toPath: folder.file("run/tokenizer.safetensors"))
      let more = try Mvar.run(
        arguments(
          "run", ["--resume", "--steps", "2", "--tokenizer", "run/tokenizer.safetensors"]),
        in: folder
      ).expectSuccess()
      #expect(more.output.contains("`mvar sample --model run/model.safetensors`"))
      try Mvar.run(
        ["sample", "--model", "run/model.safetensors", "--class", "1", "--out", "out2"]
          + Mvar.exact, in: folder
      ).expectSuccess()
    }

    /// What its flags decide about the data and the precision comes back by itself as well.
    @Test func aRunGoesOnWithItsDataAndPrecision() throws {
      func run(_ more: [String]) throws -> Mvar {
        try Mvar.run(
          [
            "train", "model", "--data", "tokens.safetensors", "--tokenizer", Golden.tokenizerFile,
            "--out", "run", "--device", "cpu", "--threads", "1",
          ] + more, in: folder)
      }
      // Neither is what `auto` and the default come to on every machine.
      let flags = ["--dtype", "bfloat16", "--hold-out", "0.25", "--balance", "0.5"]
      try run(toy + flags + ["--steps", "2"]).expectSuccess()
      try run(["--resume", "--steps", "3"]).expectSuccess()
      let path = folder.file("run/checkpoints/step-0000003/state.json")
      var state = try String(contentsOfFile: path, encoding: .utf8)
      for kept in ["\"dtype\" : \"bfloat16\"", "\"holdOut\" : 0.25", "\"balance\" : 0.5"] {
        #expect(state.contains(kept))
      }
      for (flag, other, message) in [
        ("--dtype", "float32", "dtype is bfloat16, not float32"),
        ("--hold-out", "0.5", "hold-out is 0.25, not 0.5"),
        ("--balance", "1", "balance is 0.5, not 1"),
      ] {
        try run(["--resume", "--steps", "4", "--quiet", flag, other])
          .expectFailure(1, ["the run in this folder has other settings", message])
      }
      // Earlier versions kept none of them.
      let lines = state.split(separator: "\n")
      state = lines.filter { line in
        !["dtype", "holdOut", "balance"].contains { line.contains("\"\($0)\"") }
      }.joined(separator: "\n")
      try folder.write(Data(state.utf8), to: "run/checkpoints/step-0000003/state.json")
      try run(["--resume", "--steps", "4", "--dtype", "float32"]).expectSuccess()
    }

    /// The arguments of one of two processes, behind its environment.
    private func shared(_ rank: Int, port: UInt16, _ arguments: [String]) -> [String] {
      [
        "RANK=\(rank)", "WORLD_SIZE=2", "MASTER_ADDR=127.0.0.1", "MASTER_PORT=\(port)", Mvar.path,
      ] + arguments
    }

    @Test func twoProcessesAreAsOneWithTwoMicroBatches() throws {
      // Both add the gradients of the same halves, so that even the roundings agree.
      let settings = toy + ["--steps", "5"]
      let port = freePort()
      let both = try (0..<2).map {
        try Mvar.Running(
          "/usr/bin/env", shared($0, port: port, arguments("two", settings)), in: folder)
      }
      try Mvar.run(arguments("one", settings + ["--accumulation", "2"]), in: folder)
        .expectSuccess()
      for process in both { try process.finish().expectSuccess() }
      #expect(try bytes("two/model.safetensors") == bytes("one/model.safetensors"))
    }

    /// The share that is held out catches none of six pictures, which the second process must learn.
    @Test func twoProcessesTrainWithNothingHeldOut() throws {
      try photos()
      let port = freePort()
      let toy = ["--depth", "1", "--scales", "1,2", "--versions", "1", "--batch", "4"]
      let both = try (0..<2).map {
        try Mvar.Running(
          "/usr/bin/env", shared($0, port: port, pictureArguments(toy + ["--steps", "2"])),
          in: folder)
      }
      let first = try both[0].finish().expectSuccess()
      // It would wait for ever.
      if first.status != 0 { kill(both[1].processIdentifier, SIGKILL) }
      try both[1].finish().expectSuccess()
      #expect(first.errors.contains("0 held out"))
    }

    @Test func aProcessThatDiesEndsTheOthers() throws {
      let settings = toy + ["--steps", "100000", "--save-every", "100000"]
      let port = freePort()
      let both = try (0..<2).map {
        try Mvar.Running(
          "/usr/bin/env", shared($0, port: port, arguments("run", settings)), in: folder)
      }
      try wait(for: folder.file("run/log.jsonl"), lines: 2)
      kill(both[1].processIdentifier, SIGKILL)
      _ = try both[1].finish()
      let run = try both[0].finish()
      #expect(run.status == 1)
      #expect(run.errors.contains("another process of this run has died or hangs"), "\(run.errors)")
    }

    @Test func aFullDiskLeavesTheOldCheckpoint() throws {
      try Mvar.run(arguments("run", toy + ["--steps", "2"]), in: folder).expectSuccess()
      let before = try bytes("run/checkpoints/step-0000002/model.safetensors")
      // No file may be larger than 64 KiB from now on, which is how a disk fills up for a test.
      let run = try Mvar.shell(
        "trap '' XFSZ; ulimit -f 128; exec \"$0\" \"$@\"",
        arguments("run", ["--resume", "--steps", "6", "--keep", "1"]), in: folder)
      #expect(run.status == 1)
      #expect(run.errors.contains("the checkpoint of step 2 is untouched"), "\(run.errors)")
      #expect(try bytes("run/checkpoints/step-0000002/model.safetensors") == before)
      #expect(
        try FileManager.default.contentsOfDirectory(
          atPath: folder.file("run/checkpoints")) == ["step-0000002"])
      try Mvar.run(arguments("run", ["--resume", "--steps", "6"]), in: folder).expectSuccess()
    }

    @Test(arguments: [
      (["--depth", "0"], 2, "depth is 0; use 1 or more"),
      (["--depth", "9223372036854775807"], 2, "depth is 9223372036854775807; use 1 to 1024"),
      (["--epochs", "9223372036854775807"], 2, "use 1 to 1000000000"),
      (["--steps", "9223372036854775807"], 2, "use 1 to 1000000000000"),
      (["--warm-up-epochs", "1e300"], 2, "warm-up-epochs is 1e+300; use 0 to 1000000000"),
      (["--warm-up-epochs", "nan"], 2, "warm-up-epochs is nan"),
      (
        ["--progressive", "0.5", "--progressive-easing", "1e300"], 2, "progressive-easing is 1e+300"
      ),
      (["--batch", "9223372036854775807"], 2, "use 1 to 1000000"),
      (
        ["--versions", "9223372036854775807"], 2, "versions is 9223372036854775807; use 1 to 100000"
      ),
      (["--workers", "100000"], 2, "workers is 100000; use 1 to 1024"),
      (["--schedule", "linear"], 2, "schedule is linear; use cos"),
      (["--accumulation", "3"], 2, "accumulation is 3; use a number that divides the batch of 4"),
      (["--hold-out", "1"], 2, "hold-out is 1.0; use 0 or more and less than 1"),
      (["--tokenizer", "nowhere"], 1, "nowhere"),
      (["--resume"], 1, "no checkpoint to go on from; leave --resume out"),
      (["--base-rate", "1e30", "--clip", "0"], 1, "at step"),
    ]) func refuses(_ flags: [String], status: Int, message: String) throws {
      let run = try Mvar.run(
        arguments("run", toy + flags + ["--quiet"]), in: folder)
      run.expectFailure(Int32(status), [message])
    }

    /// Three pictures of each of two classes, in "photos".
    private func photos() throws {
      for (label, name) in ["boat", "cat"].enumerated() {
        try FileManager.default.createDirectory(
          atPath: folder.file("photos/\(name)"), withIntermediateDirectories: true)
        for index in 0..<3 {
          let shade = UInt8(40 * index + 90 * label)
          try Picture(width: 40, height: 36, filledWith: RGB(shade, 90, 200))
            .write(to: folder.file("photos/\(name)/\(index).png"))
        }
      }
    }

    private func pictureArguments(_ more: [String], data: String = "photos") -> [String] {
      [
        "train", "model", "--data", data, "--tokenizer", Golden.tokenizerFile, "--out", "run",
        "--device", "cpu", "--dtype", "float32", "--threads", "1",
      ] + more
    }

    /// As the README has it, a slash at the end; and a table by its folder.
    @Test(arguments: ["photos/", "table"]) func picturesAreFoundAgain(_ data: String) throws {
      try photos()
      let rows = (0..<3).map { "../photos/boat/\($0).png,boat\n../photos/cat/\($0).png,cat\n" }
      try FileManager.default.createDirectory(
        atPath: folder.file("table"), withIntermediateDirectories: true)
      try folder.write(Data(rows.joined().utf8), to: "table/labels.csv")
      let toy = [
        "--depth", "1", "--scales", "1,2", "--versions", "1", "--batch", "4", "--steps", "2",
      ]
      try Mvar.run(pictureArguments(toy, data: data), in: folder).expectSuccess()
      try Mvar.run(pictureArguments(["--resume", "--steps", "3"], data: data), in: folder)
        .expectSuccess()
    }

    /// From a folder of pictures to a picture of a class that is named.
    @Test func learnsFromPictures() throws {
      try photos()
      try folder.write(Data("no picture".utf8), to: "photos/cat/broken.jpg")
      func arguments(_ more: [String]) -> [String] { pictureArguments(more) }
      let toy = [
        "--depth", "1", "--scales", "1,2", "--versions", "2", "--batch", "8", "--steps", "3",
        "--hold-out", "0",
      ]
      try Mvar.run(arguments(toy + ["--quiet"]), in: folder)
        .expectFailure(1, ["1 of 7 pictures cannot be read", "broken.jpg"])
      let run = try Mvar.run(arguments(toy + ["--unreadable", "0.2"]), in: folder).expectSuccess()
      #expect(run.errors.contains("photos: 7 pictures of 2 classes to learn from, 0 held out"))
      #expect(run.errors.contains("broken.jpg is left out"))
      let state = try String(
        contentsOfFile: folder.file("run/checkpoints/step-0000003/state.json"), encoding: .utf8)
      #expect(state.contains("\"boat\"") && state.contains("\"cat\""))
      // A run that goes on has its tokens already, whatever it is not told again.
      try Mvar.run(arguments(["--resume", "--steps", "4"]), in: folder).expectSuccess()
      // The tokens serve the next run as they are.
      try Mvar.run(
        [
          "train", "model", "--data", "run/tokens", "--tokenizer", Golden.tokenizerFile, "--out",
          "other", "--architecture", "var", "--depth", "1", "--batch", "8", "--steps", "1",
        ] + Mvar.exact, in: folder
      ).expectSuccess()
    }

    /// The tokens that a run began with may be gone, and are then made anew of the same rows.
    @Test func aRunGoesOnWithItsRows() throws {
      try photos()
      let rows = (0..<3).map { index in
        let split = index < 2 ? "train" : "test"
        return "photos/boat/\(index).png,boat,\(split)\nphotos/cat/\(index).png,cat,\(split)\n"
      }
      try folder.write(Data(("file,class,split\n" + rows.joined()).utf8), to: "table.csv")
      func run(_ more: String...) throws -> Mvar {
        try Mvar.run(pictureArguments(more, data: "table.csv"), in: folder)
      }
      try run(
        "--depth", "1", "--scales", "1,2", "--versions", "1", "--batch", "4", "--steps", "2",
        "--split", "train", "--held-out-split", "test"
      ).expectSuccess()
      try FileManager.default.removeItem(atPath: folder.file("run/tokens"))
      let more = try run("--resume", "--steps", "3", "--scales", "1,2", "--versions", "1")
      #expect(
        more.expectSuccess().errors.contains(
          "table.csv: 4 pictures of 2 classes to learn from, 2 held out"), "\(more.errors)")
      for (flag, other, message) in [
        ("--split", "test", "split is train, not test"),
        ("--held-out-split", "train", "held-out-split is test, not train"),
      ] {
        try run("--resume", "--steps", "4", "--quiet", flag, other)
          .expectFailure(1, ["the run in this folder has other settings", message])
      }
      // Earlier versions kept neither, and were told again.
      let path = "run/checkpoints/step-0000003/state.json"
      let state = try String(contentsOfFile: folder.file(path), encoding: .utf8)
      let older = state.split(separator: "\n").filter { line in
        !["split", "heldOutSplit", "holdOut"].contains { line.contains("\"\($0)\"") }
      }
      try folder.write(Data(older.joined(separator: "\n").utf8), to: path)
      try run("--resume", "--steps", "4", "--split", "train", "--held-out-split", "test")
        .expectSuccess()
    }

    @Test func refusesClassesThatAreNotThere() throws {
      try photos()
      try Mvar.run(pictureArguments(["--unflipped", "boat, flag"]), in: folder)
        .expectFailure(
          1,
          [
            "photos: there is no class flag, which --unflipped names", "which are boat, cat",
          ])
    }

    @Test func anEmptyFolderIsNamed() throws {
      try FileManager.default.createDirectory(
        atPath: folder.file("photos"), withIntermediateDirectories: true)
      try Mvar.run(
        ["train", "model", "--data", "photos", "--tokenizer", Golden.tokenizerFile, "--out", "run"]
          + Mvar.exact, in: folder
      ).expectFailure(1, ["photos: there are no pictures"])
    }

    @Test func refusesWhatIsNoTokenFile() throws {
      try PictureTokens(
        schedule: ScaleSchedule(squares: [1]), count: 1, scales: [[9]]
      ).write(to: folder.file("tokens.safetensors"))
      try Mvar.run(arguments("run", toy), in: folder)
        .expectFailure(1, ["tokens.safetensors has no tensor labels"])
      try TokenFile(
        tokens: PictureTokens(schedule: ScaleSchedule(squares: [1]), count: 1, scales: [[512]]),
        labels: [0]
      ).write(to: folder.file("tokens.safetensors"))
      try Mvar.run(arguments("run2", toy), in: folder)
        .expectFailure(1, ["has the token 512, outside the tokenizer's 0...511"])
    }
  }
}
