import TorchTestSupport
import Foundation
import MVARTraining
import Testing

@Suite struct RunFolderTests {
  private let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private struct Full: Error {}

  private func fill(_ path: String) throws {
    try Data("whole".utf8).write(to: URL(filePath: path + "/file"))
  }

  @Test func keepsTheNewest() throws {
    let run = try RunFolder(folder.file("run"))
    for step in [5, 10, 15] { _ = try run.save(step: step, keeping: 2, fill) }
    #expect(run.saved.map(\.step) == [10, 15])
    #expect(FileManager.default.fileExists(atPath: run.saved[0].path + "/file"))
  }

  @Test func aFailedSaveLeavesWhatWas() throws {
    let run = try RunFolder(folder.file("run"))
    let first = try run.save(step: 5, keeping: 1, fill)
    #expect(throws: Full.self) {
      try run.save(step: 10, keeping: 1) { path in
        try fill(path)
        throw Full()
      }
    }
    #expect(run.saved == [first])
    let names = try FileManager.default.contentsOfDirectory(atPath: folder.file("run/checkpoints"))
    #expect(names == ["step-0000005"])
  }

  @Test func leftoversOfACrashAreRemoved() throws {
    let leftover = folder.file("run/checkpoints/.step-0000007.tmp")
    try FileManager.default.createDirectory(atPath: leftover, withIntermediateDirectories: true)
    let run = try RunFolder(folder.file("run"))
    #expect(run.saved.isEmpty)
    #expect(!FileManager.default.fileExists(atPath: leftover))
  }

  @Test func oneProcessAtATime() throws {
    let run = try RunFolder(folder.file("run"))
    let error = #expect(throws: TrainingError.self) { try RunFolder(run.path) }
    #expect(error?.description.contains("in use by another process") == true)
  }

  @Test func aFileIsNoFolder() throws {
    try Data().write(to: URL(filePath: folder.file("taken")))
    let error = #expect(throws: TrainingError.self) { try RunFolder(folder.file("taken")) }
    #expect(error?.description.contains("taken cannot be used as a run's folder") == true)
  }
}
