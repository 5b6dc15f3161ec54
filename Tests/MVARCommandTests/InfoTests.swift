import Foundation
import MVAR
import Testing
import TorchTestSupport

extension CommandTests {
  @Suite struct InfoTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    @Test func tellsWhatAModelIs() throws {
      let run = try Mvar.run(["info", Golden.mvar64.modelFile], in: folder).expectSuccess()
      let words = run.output.split(separator: "\n").map { $0.split(separator: " ") }
      for row in [
        ["kind", "M-VAR"], ["depth", "2"], ["width", "128"], ["heads", "2"], ["classes", "5"],
        ["scales", "1,2,3,4"], ["resolution", "64", "×", "64", "px"], ["parameters", "1.0", "M"],
        ["dtype", "bfloat16"],
      ] {
        #expect(words.contains { $0.map(String.init) == row }, "\(row)")
      }
      #expect(run.output.contains("(2.1 MB, 54 tensors)"))
    }

    @Test func tellsBothPartsOfACheckpoint() throws {
      let run = try Mvar.run(["info", fixture("checkpoints/training.pth")], in: folder)
        .expectSuccess()
      #expect(run.output.contains("M-VAR"))
      #expect(run.output.contains("tokenizer"))
    }

    @Test func writesRecords() throws {
      let files = Golden.all.map(\.modelFile) + [Golden.tokenizerFile]
      let run = try Mvar.run(["info", "--json"] + files, in: folder).expectSuccess()
      let records = try JSONDecoder().decode([CheckpointSummary].self, from: Data(run.output.utf8))
      #expect(records.map(\.file) == files)
      #expect(records.map { $0.parts[0].kind } == ["M-VAR", "M-VAR", "VAR", "tokenizer"])
    }
  }
}
