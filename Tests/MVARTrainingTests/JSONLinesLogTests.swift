import TorchTestSupport
import Foundation
import MVARTraining
import Testing

@Suite struct JSONLinesLogTests {
  private let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private var lines: [String] {
    get throws {
      try String(contentsOfFile: folder.file("log.jsonl"), encoding: .utf8)
        .split(separator: "\n").map(String.init)
    }
  }

  @Test func keepsStepsInOrder() throws {
    let log = try JSONLinesLog(folder.file("log.jsonl"))
    try log.record(["train/loss": 2.5, "a \"name\"": 1], step: 1)
    try log.record(["train/loss": .nan], step: 2)
    try log.flush()
    #expect(
      try lines == [
        #"{"step":1,"a \"name\"":1.0,"train/loss":2.5}"#, #"{"step":2,"train/loss":null}"#,
      ])
  }

  @Test func goesOnAfterACrash() throws {
    let path = folder.file("log.jsonl")
    try Data("{\"step\":1}\n{\"step\":2}\n{\"ste".utf8).write(to: URL(filePath: path))
    let log = try JSONLinesLog(path)
    try log.rewind(to: 1)
    try log.record([:], step: 2)
    #expect(try lines == ["{\"step\":1}", "{\"step\":2}"])
  }

  @Test func saysWhereItCannotWrite() throws {
    let error = #expect(throws: TrainingError.self) {
      try JSONLinesLog(folder.file("missing/log.jsonl"))
    }
    #expect(error?.description.contains("missing/log.jsonl") == true)
  }
}
