import Foundation
import MVAREvaluation
import Pictures
import Testing
import TorchTestSupport

@Suite struct PictureFolderTests {
  private let folder: TemporaryFolder

  /// `data/cats` with two pictures, `data/dogs` with one.
  init() throws {
    folder = try TemporaryFolder()
    for file in ["data/cats/1.png", "data/cats/2.PNG", "data/dogs/1.png", "data/.hidden/1.png"] {
      let url = URL(filePath: folder.file(file))
      try FileManager.default.createDirectory(
        at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
      try Data(Picture(width: 4, height: 4, filledWith: RGB(1, 2, 3)).encoded(as: .png)).write(
        to: url)
    }
  }

  private func link(_ name: String, to target: String) throws {
    try FileManager.default.createSymbolicLink(
      atPath: folder.file(name), withDestinationPath: folder.file(target))
  }

  @Test func holdsThePicturesBelow() throws {
    let files = try PictureFolder(folder.file("data")).files
    #expect(files == ["cats/1.png", "cats/2.PNG", "dogs/1.png"])
    #expect(try PictureFolder(folder.file("data"), limit: 1).files == ["cats/1.png"])
  }

  @Test func followsLinksToFolders() throws {
    try link("linked", to: "data")
    try link("data/more", to: "data/dogs")
    let files = ["cats/1.png", "cats/2.PNG", "dogs/1.png", "more/1.png"]
    #expect(try PictureFolder(folder.file("linked")).files == files)
    #expect(try PictureFolder(folder.file("linked/")).files == files)
  }

  @Test func refusesCircles() throws {
    try link("data/cats/back", to: "data")
    let error = #expect(throws: EvaluationError.self) { try PictureFolder(folder.file("data")) }
    #expect(error.map { "\($0)".contains("remove the link") } == true)
  }
}
