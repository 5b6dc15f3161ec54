import Foundation
import Pictures

/// Pictures of one size to be measured, in an order of their own.
public protocol PictureSource: Sendable {
  var count: Int { get }
  /// Whether pictures that follow each other are alike: true for folders, where names sort by class.
  var isGrouped: Bool { get }
  /// How a message calls a picture.
  func name(_ index: Int) -> String
  /// Some of the pictures; ranges are asked for in ascending order.
  ///
  /// - Throws: `PictureError` or ``EvaluationError`` naming the picture.
  func pictures(_ range: Range<Int>) async throws -> [Picture]
  /// Changes with the pictures.
  var fingerprint: String { get }
}

/// The PNG, JPEG and WebP files of a folder and of those in it, by their names.
public struct PictureFolder: PictureSource {
  /// How pictures become one size.
  public struct Fitting: Sendable, Hashable {
    public var side: Int
    public var fit: PictureFit

    public init(side: Int, fit: PictureFit = .crop) { (self.side, self.fit) = (side, fit) }
  }

  public let path: String
  public let files: [String]
  private let fitting: Fitting?
  private let size: (width: Int, height: Int)

  public var count: Int { files.count }
  public var isGrouped: Bool { true }
  public func name(_ index: Int) -> String { "\(path)/\(files[index])" }

  private static let endings: Set<String> = ["png", "jpg", "jpeg", "webp"]

  /// - Parameters:
  ///   - fitting: Nil where all pictures have one size already.
  ///   - limit: Take only so many, evenly spread.
  /// - Throws: ``EvaluationError`` for a folder without pictures.
  public init(_ path: String, fitting: Fitting? = nil, limit: Int? = nil) throws {
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder), isFolder.boolValue
    else { throw Self.unreadable(path) }
    var files = try Self.files(below: path)
    files.sort { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    if let limit, limit < files.count {
      let found = files
      files = (0..<limit).map { found[$0 * found.count / limit] }
    }
    guard let first = files.first else {
      throw EvaluationError(
        .pictures, path, "holds no pictures",
        mend: "name a folder with PNG, JPEG or WebP files")
    }
    self.path = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
    self.files = files
    self.fitting = fitting
    if let fitting {
      size = (fitting.side, fitting.side)
    } else {
      let picture = try Picture(contentsOf: "\(self.path)/\(first)")
      size = (picture.width, picture.height)
    }
  }

  /// The pictures below a folder, by their paths relative to it; links to folders are followed, but not in circles.
  private static func files(below path: String, depth: Int = 0) throws -> [String] {
    guard depth < 32 else {
      throw EvaluationError(
        .inputOutput, path, "lies more than 32 folders deep",
        mend: "remove the link that leads back")
    }
    guard let names = try? FileManager.default.contentsOfDirectory(atPath: path) else {
      throw unreadable(path)
    }
    return try names.filter { !$0.hasPrefix(".") }.flatMap { name -> [String] in
      if endings.contains(URL(filePath: name).pathExtension.lowercased()) { return [name] }
      var isFolder: ObjCBool = false
      guard FileManager.default.fileExists(atPath: "\(path)/\(name)", isDirectory: &isFolder),
        isFolder.boolValue
      else { return [] }
      return try files(below: "\(path)/\(name)", depth: depth + 1).map { "\(name)/\($0)" }
    }
  }

  private static func unreadable(_ path: String) -> EvaluationError {
    EvaluationError(.inputOutput, path, "cannot be read as a folder", mend: "check the path")
  }

  public func pictures(_ range: Range<Int>) async throws -> [Picture] {
    try await withThrowingTaskGroup(of: (Int, Picture).self) { group in
      var next = range.lowerBound
      func start() {
        guard next < range.upperBound else { return }
        let index = next
        group.addTask { (index, try picture(index)) }
        next += 1
      }
      for _ in 0..<ProcessInfo.processInfo.activeProcessorCount { start() }
      var pictures = [Picture?](repeating: nil, count: range.count)
      while let (index, picture) = try await group.next() {
        pictures[index - range.lowerBound] = picture
        start()
      }
      return pictures.map { $0! }
    }
  }

  private func picture(_ index: Int) throws -> Picture {
    try Task.checkCancellation()
    let picture = try Picture(contentsOf: name(index))
    if let fitting { return picture.fitted(to: fitting.side, fit: fitting.fit) }
    guard (picture.width, picture.height) == size else {
      throw EvaluationError(
        .pictures, name(index),
        "has \(picture.width) × \(picture.height) pixels where \(name(0)) has "
          + "\(size.width) × \(size.height)",
        mend:
          "bring all to one size with --size, say --size \(min(size.width, size.height, picture.width, picture.height))"
      )
    }
    return picture
  }

  /// Names, sizes and times of the files.
  public var fingerprint: String {
    var hash = StableHash()
    hash.add("\(fitting.map { "\($0.side) \($0.fit.rawValue)" } ?? "as they are")")
    for file in files {
      var status = stat()
      stat("\(path)/\(file)", &status)
      #if canImport(Darwin)
        let time = status.st_mtimespec
      #else
        let time = status.st_mtim
      #endif
      hash.add("\(file) \(status.st_size) \(time.tv_sec).\(time.tv_nsec)")
    }
    return "folder \(files.count) \(hash.text)"
  }
}

/// The pictures of a `.npz` file, `[N, H, W, 3]` uint8, read one after the other.
public actor NumPyPictures: PictureSource {
  public nonisolated let path: String
  public nonisolated let count: Int
  public nonisolated let fingerprint: String
  public nonisolated var isGrouped: Bool { false }
  public nonisolated func name(_ index: Int) -> String { "\(path), picture \(index)" }

  private let archive: NumPyArchive
  private let entry: NumPyArchive.Entry
  private let size: (width: Int, height: Int)
  private var stream: NumPyArchive.Stream?
  private var position = 0

  /// - Throws: ``EvaluationError`` where the file holds no such pictures.
  public init(_ path: String) throws {
    let archive = try NumPyArchive(path)
    guard let entry = NumPyContents(archive).pictures else {
      throw EvaluationError(
        .wrongKind, path, "holds no pictures, but \(archive.summary)",
        mend: "name a file with arr_0 [N, H, W, 3] uint8")
    }
    self.path = path
    self.archive = archive
    self.entry = entry
    count = entry.header.shape[0]
    size = (entry.header.shape[2], entry.header.shape[1])
    fingerprint = "npz \(entry.header.shape) \(entry.checksum)"
  }

  /// Whether a `.npz` file holds pictures.
  ///
  /// - Throws: ``EvaluationError`` where it cannot be read.
  public static func isHeld(by path: String) throws -> Bool {
    NumPyContents(try NumPyArchive(path)).pictures != nil
  }

  public func pictures(_ range: Range<Int>) throws -> [Picture] {
    precondition(
      range.lowerBound >= 0 && range.upperBound <= count, "\(range) of \(count) pictures")
    let bytes = size.width * size.height * 3
    if stream == nil || range.lowerBound < position {
      stream = try archive.stream(entry)
      position = 0
    }
    while position < range.lowerBound {
      _ = try stream!.next(bytes)
      position += 1
    }
    defer { position = range.upperBound }
    return try range.map { _ in
      Picture(width: size.width, height: size.height, pixels: try stream!.next(bytes))
    }
  }
}

/// A hash that is the same on every machine and in every run (FNV-1a, twice).
struct StableHash {
  private var a: UInt64 = 0xcbf2_9ce4_8422_2325
  private var b: UInt64 = 0x6c62_272e_07bb_0142

  mutating func add(_ text: String) {
    for byte in text.utf8 { add(byte) }
    add(0xFF)
  }

  private mutating func add(_ byte: UInt8) {
    a = (a ^ UInt64(byte)) &* 0x100_0000_01b3
    b = (b ^ UInt64(byte) ^ a >> 32) &* 0x100_0000_01b3
  }

  var text: String { String(a, radix: 16) + String(b, radix: 16) }
}
