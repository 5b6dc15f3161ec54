import Foundation
import Testing

@testable import MVARTraining

/// What is found in a path, and what is said of a bad one.
@Suite struct DataSetTests {
  @Test func foldersNameTheClasses() throws {
    let folder = try PictureFolder()
    for name in ["cat/b.png", "cat/a.jpg", "cat/more/c.webp", "ant/z.jpeg"] {
      try folder.add(name, number: 1)
    }
    try folder.write("not a picture", to: "ant/readme.md")
    try folder.write("hidden", to: "ant/.hidden.png")
    let data = try PictureDataSet(folder.path + "/")
    #expect(data.classNames == ["ant", "cat"])
    #expect(
      data.entries.map(\.location)
        == ["ant/z.jpeg", "cat/a.jpg", "cat/b.png", "cat/more/c.webp"].map {
          .file(folder.file($0))
        })
    #expect(data.entries.map(\.label) == [0, 1, 1, 1])
    #expect(data.classCounts == [1, 3])
    let unlabelled = try PictureDataSet(folder.path, labels: .ignored)
    #expect(unlabelled.count == 4 && unlabelled.classNames.isEmpty)
  }

  @Test func aTableNamesFilesAndClasses() throws {
    let folder = try PictureFolder()
    try folder.write(
      "\u{FEFF}vendor,class,path,split\r\nx,\"cat, wild\",a.png,train\r\ny,\"the \"\"dog\"\"\",b.png,test\n\nz,bird,sub/c.png,train\n",
      to: "labels.csv")
    let data = try PictureDataSet(folder.path)
    #expect(data.classNames == ["bird", "cat, wild", "the \"dog\""])
    #expect(data.entries.map(\.label) == [1, 2, 0])
    #expect(data.entries[2].location == .file(folder.file("sub/c.png")))
    let training = try PictureDataSet(folder.file("labels.csv"), split: "train")
    #expect(training.count == 2 && training.classNames == data.classNames)
    expectTrainingError(.data, folder.path, "split val") {
      _ = try PictureDataSet(folder.path, split: "val")
    }
  }

  @Test func aPathIsTheSameHoweverItIsWritten() throws {
    let folder = try PictureFolder()
    try folder.add("cat/a.png", number: 1)
    let name = folder.path.split(separator: "/").last!
    for other in ["/", "/.", "//", "/../\(name)"] {
      #expect(PictureDataSet.isSame(folder.path, as: folder.path + other))
    }
    #expect(!PictureDataSet.isSame(folder.path, as: folder.file("cat")))
    #expect(!PictureDataSet.isSame(folder.path, as: folder.file("labels.csv")))
    try folder.write("cat/a.png,cat\n", to: "labels.csv")
    #expect(PictureDataSet.isSame(folder.path + "/", as: folder.file("labels.csv")))
  }

  @Test func rowsWithoutAClassServeWhereLabelsAreIgnored() throws {
    let folder = try PictureFolder()
    try folder.write(
      "file,class,split\na.png,cat,train\nb.png,,train\nc.png,,test\n", to: "labels.csv")
    #expect(try PictureDataSet(folder.path, split: "train").count == 1)
    #expect(try PictureDataSet(folder.path, labels: .ignored, split: "train").count == 2)
  }

  @Test func numbersAreIndicesAndMayHaveNames() throws {
    let folder = try PictureFolder()
    try folder.write("a.png,2\nb.png,0\n", to: "labels.csv")
    let data = try PictureDataSet(folder.path)
    #expect(data.classNames == ["0", "1", "2"] && data.entries.map(\.label) == [2, 0])
    #expect(data.remarks.contains { $0.contains("1 of 3 classes") })
    try folder.write("zebra\n\nlion\nant\n", to: "classes.txt")
    let named = try PictureDataSet(folder.path)
    #expect(named.classNames == ["zebra", "lion", "ant"] && named.entries.map(\.label) == [2, 0])
    try folder.write("a.png,lion\nb.png,7\n", to: "labels.csv")
    expectTrainingError(.data, "line 2", "7", "classes.txt") {
      _ = try PictureDataSet(folder.path)
    }
  }

  @Test(arguments: ["pax", "ustar", "gnu"]) func shardsOfEveryDialect(_ dialect: String) throws {
    let data = try PictureDataSet(Shards.path(dialect))
    #expect(data.classNames == ["0", "1", "2"])
    #expect(data.entries.map(\.label) == [1, 0, 2, 1])
    #expect(data.entries[2].location.name.hasSuffix("/0002.png"))
    // The bytes at each place are those of the right picture.
    var settings = PictureBatches.Settings(recipe: .evaluation(side: 4), batch: 4, seed: 1)
    settings.workers = 2
    let batch = try PictureBatches(data, settings).next()
    for (row, index) in batch.indices.enumerated() {
      #expect(Array(batch.pixels[row * 48..<row * 48 + 3]).map(Int.init) == Shards.color(index))
    }
  }

  @Test func aFolderOfShardsIsOneDataSet() throws {
    let folder = try PictureFolder()
    for name in ["b", "a"] {
      try FileManager.default.copyItem(
        atPath: Shards.path("pax"), toPath: folder.file("\(name).tar"))
    }
    let data = try PictureDataSet(folder.path)
    #expect(data.count == 8)
    #expect(data.entries[0].location.name.hasPrefix(folder.file("a.tar:")))
    #expect(try PictureDataSet(folder.path, labels: .ignored).count == 8)
    try folder.add("cat/a.png", number: 1)
    expectTrainingError(.data, folder.path, "2 tar files", "cat") {
      _ = try PictureDataSet(folder.path)
    }
  }

  @Test func badShards() throws {
    let folder = try PictureFolder()
    let whole = [UInt8](try Data(contentsOf: URL(filePath: Shards.path("ustar"))))
    try folder.write(Array(whole.prefix(600)), to: "cut.tar")
    expectTrainingError(.data, "cut.tar", "fetch it again") {
      _ = try PictureDataSet(folder.file("cut.tar"))
    }
    try folder.write("no tar file at all", to: "text.tar")
    expectTrainingError(.data, "text.tar") { _ = try PictureDataSet(folder.file("text.tar")) }
    // A picture (one block of header, one of data) without its class.
    try folder.write(Array(whole.prefix(1024)) + [UInt8](repeating: 0, count: 1024), to: "one.tar")
    expectTrainingError(.data, "one.tar:0000.png", "0000.cls") {
      _ = try PictureDataSet(folder.file("one.tar"))
    }
    #expect(try PictureDataSet(folder.file("one.tar"), labels: .ignored).count == 1)
    try folder.write(
      Shards.claiming([0x7F] + [UInt8](repeating: 0xFF, count: 6) + [0], whole), to: "vast.tar")
    expectTrainingError(.data, "vast.tar", "fetch it again") {
      _ = try PictureDataSet(folder.file("vast.tar"))
    }
    try folder.write([0x1F, 0x8B], to: "packed/x.tar.gz")
    expectTrainingError(.data, "x.tar.gz", "unpack") {
      _ = try PictureDataSet(folder.file("packed"))
    }
  }

  // MARK: Bad input

  @Test func anEmptyFolder() throws {
    let folder = try PictureFolder()
    expectTrainingError(.data, folder.path, "no pictures") { _ = try PictureDataSet(folder.path) }
    expectTrainingError(.data, folder.path, "no pictures") {
      _ = try PictureDataSet(folder.path, labels: .ignored)
    }
    expectTrainingError(.data, "nowhere", "check the path") {
      _ = try PictureDataSet(folder.file("nowhere"))
    }
  }

  @Test func oneClass() throws {
    let folder = try PictureFolder.classes(["cat"], count: 3)
    let data = try PictureDataSet(folder.path)
    #expect(data.classNames == ["cat"] && data.count == 3)
    #expect(data.remarks.count == 1 && data.remarks[0].contains("one class, cat"))
    #expect(try PictureDataSet(folder.path, labels: .ignored).remarks.isEmpty)
  }

  @Test func classesWithoutPictures() throws {
    let folder = try PictureFolder.classes(["cat"], count: 1)
    try folder.write("", to: "dog/notes.txt")
    expectTrainingError(.data, folder.file("dog"), "no pictures") {
      _ = try PictureDataSet(folder.path)
    }
  }

  @Test func mixedTrees() throws {
    let folder = try PictureFolder.classes(["cat", "dog"], count: 1)
    try folder.add("loose.png", number: 3)
    expectTrainingError(.data, folder.path, "1 pictures", "loose.png", "2 class folders") {
      _ = try PictureDataSet(folder.path)
    }
    #expect(try PictureDataSet(folder.path, labels: .ignored).count == 3)
    let flat = try PictureFolder()
    try flat.add("a.png", number: 1)
    expectTrainingError(.data, flat.path, "no classes", "labels.csv") {
      _ = try PictureDataSet(flat.path)
    }
  }

  @Test(arguments: [
    ("file,class\na.png\n", "line 2"), ("file,class\na.png,\"cat\n", "line 2"),
    ("file,class\n,cat\n", "line 2"), ("file,class\na.png,\n", "names no class"), ("", "empty"),
    ("a.png,70000\n", "70000"),
  ]) func badTables(_ text: String, part: String) throws {
    let folder = try PictureFolder()
    try folder.write(text, to: "labels.csv")
    expectTrainingError(.data, "labels.csv", part) { _ = try PictureDataSet(folder.path) }
  }

  @Test func heldOutPicturesDependOnTheirNamesOnly() throws {
    let entries = (0..<2000).map {
      PictureDataSet.Entry(.file("/data/\($0 % 7)/\($0).png"), label: $0 % 7)
    }
    let names = (0..<7).map(String.init)
    let data = PictureDataSet(path: "/data", entries: entries, classNames: names)
    let (training, heldOut) = data.holdingOut(0.1)
    #expect(training.count + heldOut.count == 2000)
    // Within four standard deviations, √(2000 · 0.1 · 0.9) = 13.4.
    #expect(abs(heldOut.count - 200) < 54)
    let fewer = PictureDataSet(
      path: "/data", entries: Array(entries.prefix(500)), classNames: names
    ).holdingOut(0.1).heldOut
    #expect(fewer.entries == heldOut.entries.filter { entries.prefix(500).contains($0) })
    #expect(data.holdingOut(0).heldOut.count == 0)
    // As earlier versions chose and hashed them.
    let first = ["1/1", "4/53", "6/69", "3/80"].map { "/data/\($0).png" }
    #expect(heldOut.entries.prefix(4).map(\.location.name) == first)
    #expect(data.contentDigest == "c42d846d66f556cb")
  }

  /// A table's path is longer than what the names of its pictures begin with.
  @Test func heldOutPicturesOfATableDependOnTheirNamesToo() throws {
    func table(_ ending: String) throws -> PictureDataSet {
      let folder = try PictureFolder()
      let rows = (0..<400).map { "\($0).\(ending),\($0 % 2)\n" }.joined()
      try folder.write("file,class\n/elsewhere/x.png,0\n" + rows, to: "labels.csv")
      return try PictureDataSet(folder.path)
    }
    let data = try table("png")
    let heldOut = data.holdingOut(0.1).heldOut
    // Within five standard deviations, √(400 · 0.1 · 0.9) = 6.
    #expect(abs(heldOut.count - 40) < 30)
    // The same in a folder of another place, but not of other names.
    let moved = try table("png")
    #expect(moved.holdingOut(0.1).heldOut.entries.map(\.label) == heldOut.entries.map(\.label))
    #expect(moved.contentDigest == data.contentDigest)
    #expect(try table("jpg").contentDigest != data.contentDigest)
    #expect(
      data.relativeName(data.entries[1]) == "/0.png"
        && data.relativeName(data.entries[0]) == "/elsewhere/x.png")
  }
}

/// The fixtures of `Tests/Fixtures/shards`, which `make.py` there wrote.
enum Shards {
  static func path(_ dialect: String) -> String {
    URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "Fixtures/shards/\(dialect).tar").path
  }

  /// A shard whose first member claims a size: eight bytes, the highest first, as GNU's tar writes large ones.
  static func claiming(_ size: [UInt8], _ shard: [UInt8]) -> [UInt8] {
    var shard = shard
    shard.replaceSubrange(124..<136, with: [0x80, 0, 0, 0] + size)
    // The checksum counts itself as blanks.
    shard.replaceSubrange(148..<156, with: Array("        ".utf8))
    let digits = String(shard[..<512].reduce(0) { $0 + Int($1) }, radix: 8)
    let padded = String(repeating: "0", count: 6 - digits.count) + digits + "\0 "
    shard.replaceSubrange(148..<156, with: Array(padded.utf8))
    return shard
  }

  static func color(_ index: Int) -> [Int] { [40 * index, 200 - 40 * index, 9 * index] }
}
