import TorchTestSupport
import Testing

extension CommandTests {
  @Suite struct HelpTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    @Test func namesEveryCommand() throws {
      let run = try Mvar.run(["--help"], in: folder).expectSuccess()
      for command in [
        "info", "sample", "reconstruct", "tokenize", "detokenize", "convert", "bench",
        "edit", "models", "pull", "train", "plot", "evaluate", "serve",
      ] {
        #expect(run.output.contains("\n  \(command) "))
        let help = try Mvar.run([command, "--help"], in: folder).expectSuccess()
        #expect(help.output.contains("mvar \(command)"))
        #expect(help.errors.isEmpty)
      }
    }

    @Test func needsNoLibtorch() throws {
      // A folder without libtorch in the place of the real one would make any other command fail.
      let line = "LD_DEBUG=files exec \"$0\" --help"
      let run = try Mvar.shell(line, [], in: folder).expectSuccess()
      #expect(!run.errors.contains("libtorch"))
    }

    @Test func tellsItsVersion() throws {
      let run = try Mvar.run(["--version"], in: folder).expectSuccess()
      #expect(run.output.wholeMatch(of: /mvar \d+\.\d+\.\d+\n/) != nil)
    }
  }
}
