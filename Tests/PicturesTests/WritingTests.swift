import Foundation
import Testing

@testable import Pictures

@Suite struct WritingTests {
  @Test(arguments: [PictureFormat.png, .losslessWebP], [(1, 1), (31, 17), (256, 3)])
  func losslessFormatsKeepEveryByte(format: PictureFormat, size: (width: Int, height: Int)) throws {
    let picture = sample(width: size.width, height: size.height)
    let data = try picture.encoded(as: format)
    #expect(try Picture(data: data, name: "x") == picture)
  }

  @Test(arguments: [PictureFormat.jpeg(quality: 95), .jpeg(), .webp(quality: 95), .webp()])
  func lossyFormatsStayClose(format: PictureFormat) throws {
    let picture = gradient()
    let data = try picture.encoded(as: format)
    #expect(distance(try Picture(data: data, name: "x"), picture) <= 16)
  }

  @Test func lowerQualityIsSmaller() throws {
    let picture = gradient()
    #expect(
      try picture.encoded(as: .jpeg(quality: 20)).count
        < picture.encoded(as: .jpeg(quality: 100)).count)
    #expect(
      try picture.encoded(as: .webp(quality: 20)).count
        < picture.encoded(as: .webp(quality: 100)).count)
  }

  @Test(arguments: [PictureFormat.jpeg(quality: 0), .jpeg(quality: 101), .webp(quality: -1)])
  func qualityOutOfRangeSaysTheRange(format: PictureFormat) {
    let message = pictureError(.invalidArgument) { _ = try sample().encoded(as: format) }
    #expect(message.contains("to 100"))
  }

  @Test func picturesAboveAFormatsSidesAreRefused() {
    let wide = Picture(width: 70_000, height: 1, filledWith: .white)
    for format in [PictureFormat.jpeg(), .webp(), .losslessWebP] {
      let message = pictureError(.tooLarge) { _ = try wide.encoded(as: format) }
      #expect(message.contains("70000x1") && message.hasSuffix("shrink it or write a PNG"))
    }
  }

  @Test func pngTextsRoundTrip() throws {
    let metadata: PictureMetadata = [
      "Title": "plain", "Author": "Zoë Müller", "Description": "金毛寻回犬 🐕\nsecond line",
      "Parameters": "{\"seed\": 7,\t\"cfg\": 1.5}", "Title ": "x",
    ]
    let sound = PictureMetadata(metadata.entries.dropLast())
    let data = try sample().encoded(as: .png, metadata: sound)
    #expect(try PictureMetadata(data: data, name: "x") == sound)
    #expect(try Picture(data: data, name: "x") == sample())
    // Latin-1 stays readable for programs that know only the old kind of chunk.
    func count(_ kind: String) -> Int {
      data.indices.dropLast(4).count { Array(data[$0..<$0 + 4]) == Array(kind.utf8) }
    }
    #expect(count("tEXt") == 2 && count("iTXt") == 2)
  }

  @Test(arguments: [
    ("", "x"), (" a", "x"), ("a ", "x"), ("a  b", "x"), ("犬", "x"), ("a\nb", "x"),
    (String(repeating: "k", count: 80), "x"), ("a", ""), ("a", "x\0y"),
  ])
  func textsThatPNGCannotHoldAreRefused(key: String, value: String) {
    let metadata = PictureMetadata([.init(key: key, value: value)])
    let message = pictureError(.invalidArgument) {
      _ = try sample().encoded(as: .png, metadata: metadata, name: "a.png")
    }
    #expect(message.hasPrefix("a.png cannot hold the text"))
  }

  @Test func jpegTextsAreCommentsAndWebPRefusesThem() throws {
    let data = try gradient().encoded(as: .jpeg(), metadata: ["Title": "犬"])
    #expect(data[20..<24] == [0xFF, 0xFE, 0, 12])
    #expect(data[24..<34].elementsEqual("Title: 犬".utf8))
    #expect(try Picture(data: data, name: "x").width == 48)
    #expect(PictureFormat.jpeg().carriesMetadata && !PictureFormat.webp().carriesMetadata)
    let message = pictureError(.invalidArgument) {
      _ = try sample().encoded(as: .losslessWebP, metadata: ["Title": "x"], name: "a.webp")
    }
    #expect(message.hasPrefix("a.webp cannot hold the text \"Title\""))
  }

  @Test func endingsNameFormats() throws {
    #expect(try PictureFormat(endingOf: "a/b.PNG") == .png)
    #expect(try PictureFormat(endingOf: "b.jpeg") == .jpeg())
    #expect(try PictureFormat(endingOf: "b.x.jpg") == .jpeg())
    #expect(try PictureFormat(endingOf: "b.webp") == .webp())
    for path in ["b.gif", "png", "a.png/b", "", "/"] {
      _ = pictureError(.invalidArgument) { _ = try PictureFormat(endingOf: path) }
    }
  }

  @Test func writingReplacesAndLeavesNothingElse() throws {
    try withFolder { folder in
      let file = folder.appending(path: "picture.png")
      try sample().write(to: file, metadata: ["Title": "first"])
      try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file.path)
      try gradient().write(to: file.path)
      #expect(try Picture(contentsOf: file) == gradient())
      let attributes = try FileManager.default.attributesOfItem(atPath: file.path)
      #expect(attributes[.posixPermissions] as? Int == 0o600)

      let link = folder.appending(path: "link.png")
      try FileManager.default.createSymbolicLink(at: link, withDestinationURL: file)
      try sample().write(to: link)
      #expect(try Picture(contentsOf: file) == sample())
      #expect(try contents(of: folder) == ["link.png", "picture.png"])
    }
  }

  @Test func aFolderThatIsMissingOrAFileSaysSo() throws {
    try withFolder { folder in
      let path = folder.appending(path: "none/a.png").path
      let missing = pictureError(.unwritable) { try sample().write(to: path) }
      #expect(
        missing == "\(path) cannot be written (No such file or directory); make the folder first")
      try sample().write(to: folder.appending(path: "a.png"))
      let inside = folder.appending(path: "a.png/b.png")
      _ = pictureError(.unwritable) { try sample().write(to: inside) }
      let message = pictureError(.unwritable) { try sample().write(to: folder.path, as: .png) }
      #expect(message.hasSuffix("cannot be written (Is a directory); name a file inside it"))
      #expect(try contents(of: folder) == ["a.png"])
    }
  }

  @Test func namesOfAnyLengthThatTheDiskAllowsCanBeWritten() throws {
    try withFolder { folder in
      for name in [String(repeating: "n", count: 251), String(repeating: "🐕", count: 62)] {
        try sample().write(to: folder.appending(path: name + ".png"))
      }
      #expect(try contents(of: folder).count == 2)
      let long = folder.appending(path: String(repeating: "n", count: 300) + ".png")
      let message = pictureError(.unwritable) { try sample().write(to: long) }
      #expect(message.hasSuffix("; choose a shorter name"))
      #expect(try contents(of: folder).count == 2)
    }
  }

  @Test func aFolderWithoutTheRightToWriteSaysSo() throws {
    try withFolder { folder in
      let manager = FileManager.default
      try manager.setAttributes([.posixPermissions: 0o555], ofItemAtPath: folder.path)
      let message = asAnOrdinaryUser {
        pictureError(.unwritable) { try sample().write(to: folder.appending(path: "a.png")) }
      }
      #expect(message.hasSuffix("(Permission denied); choose a folder that you may write to"))
      #expect(try contents(of: folder) == [])
    }
  }

  /// Each step fails in turn: nothing is left behind, and the old file stays whole.
  @Test(arguments: ["make", "put", "partial put", "flush", "move"])
  func whateverFailsTheOldFileStays(step: String) throws {
    let calls = callsThatFail(at: step)
    try withFolder { folder in
      let path = folder.appending(path: "a.png").path
      try sample().write(to: path)
      let message = pictureError(.unwritable) {
        try writeFile(gradient().encoded(as: .png), to: path, calls: calls)
      }
      #expect(message.hasPrefix("\(path) cannot be written ("))
      if step.hasSuffix("put") {
        #expect(message.hasSuffix("; free some space or choose another disk"))
      }
      #expect(try contents(of: folder) == ["a.png"])
      #expect(try Picture(contentsOf: path) == sample())
    }
  }

  @Test func shortAndInterruptedWritesGoOn() throws {
    var calls = FileCalls()
    var turn = 0
    calls.put = { file, bytes in
      turn += 1
      return turn % 2 == 0 ? fail(EINTR) : write(file, bytes.baseAddress, min(bytes.count, 100))
    }
    try withFolder { folder in
      let path = folder.appending(path: "a.png").path
      try writeFile(sample().encoded(as: .png), to: path, calls: calls)
      #expect(try Picture(contentsOf: path) == sample())
    }
  }

  /// 64 KiB hold the first picture, but not the second beside it.
  @Test(.enabled(if: SmallDisk.canBeMounted, "only the superuser may mount a small disk"))
  func aFullDiskSaysSoAndKeepsTheOldFile() throws {
    try withFolder { folder in
      let disk = try #require(SmallDisk(at: folder.path, kilobytes: 64))
      defer { disk.unmount() }
      let path = folder.appending(path: "a.png").path
      try sample().write(to: path)
      let noise = Picture(
        width: 200, height: 200, pixels: (0..<120_000).map { _ in UInt8.random(in: 0...255) })
      let message = pictureError(.unwritable) { try noise.write(to: path) }
      #expect(
        message
          == "\(path) cannot be written (No space left on device); "
          + "free some space or choose another disk")
      #expect(try contents(of: folder) == ["a.png"])
      #expect(try Picture(contentsOf: path) == sample())
    }
  }

  @Test(.enabled(if: SmallDisk.canBeMounted, "only the superuser may mount a small disk"))
  func aDiskThatCannotBeWrittenSaysSo() throws {
    try withFolder { folder in
      let disk = try #require(SmallDisk(at: folder.path, kilobytes: 64, options: "ro"))
      defer { disk.unmount() }
      let message = pictureError(.unwritable) {
        try sample().write(to: folder.appending(path: "a.png"))
      }
      #expect(message.hasSuffix("; choose a folder on a disk that can be written"))
    }
  }

  @Test(
    .enabled(if: FileManager.default.fileExists(atPath: "/dev/full"), "there is no /dev/full here"))
  func aFullDeviceSaysSoAndStaysADevice() throws {
    let message = pictureError(.unwritable) { try sample().write(to: "/dev/full", as: .png) }
    #expect(
      message
        == "/dev/full cannot be written (No space left on device); "
        + "free some space or choose another disk")
    try sample().write(to: "/dev/null", as: .png)
    for device in ["/dev/full", "/dev/null"] {
      let attributes = try FileManager.default.attributesOfItem(atPath: device)
      #expect(attributes[.type] as? FileAttributeType == .typeCharacterSpecial)
    }
  }

  private func contents(of folder: URL) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
  }
}

/// What a failing system call leaves behind.
private func fail<Number: SignedInteger>(_ number: Int32) -> Number {
  errno = number
  return -1
}

/// Calls of which one fails; "partial put" writes 100 bytes first.
private func callsThatFail(at step: String) -> FileCalls {
  var calls = FileCalls()
  switch step {
  case "make": calls.make = { _, _, _ in fail(EACCES) }
  case "put": calls.put = { _, _ in fail(ENOSPC) }
  case "partial put":
    calls.put = { file, bytes in
      lseek(file, 0, SEEK_CUR) > 0 ? fail(ENOSPC) : write(file, bytes.baseAddress, 100)
    }
  case "flush": calls.flush = { _ in fail(EIO) }
  default: calls.move = { _, _ in fail(EROFS) }
  }
  return calls
}
