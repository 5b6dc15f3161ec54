import ArgumentParser
import Pictures

/// Where pictures made from others, or from tokens, go: one file, or a folder of them.
struct PictureDestination {
  /// One for each picture.
  let files: [String]
  private let made: [String]
  /// Knows the files, for those that are written besides.
  private(set) var check: OutputCheck

  /// - Parameters:
  ///   - out: A file, where there is one picture and the ending names a format; else a folder.
  ///   - stems: The pictures' names in a folder.
  ///   - format: The format in a folder.
  ///   - sources: Files that are read and must not be replaced.
  ///   - besides: What is written besides each of the files.
  /// - Throws: ``UsageError`` or ``CommandError`` for a place that will not do.
  init(
    _ out: String, stems: [String], format: PictureFileFormat, sources: [String],
    besides: (String) -> [String] = { _ in [] }
  ) throws {
    let namesFile = (try? PictureFormat(endingOf: out)) != nil && !Files.isFolder(out)
    if namesFile {
      guard stems.count == 1 else {
        throw UsageError("out is the file \(out), for \(stems.count) pictures; name a folder")
      }
      files = [out]
      made = []
      try Files.checkWritable(out)
    } else {
      made = try Files.makeFolder(out)
      files = Self.distinct(stems).map { Files.join(out, "\($0).\(format.ending)") }
    }
    check = OutputCheck(reading: sources)
    do {
      for file in files.flatMap({ [$0] + besides($0) }) { try check.add(file, "--out") }
    } catch {
      removeIfEmpty()
      throw error
    }
  }

  /// Adds numbers to names that come again.
  private static func distinct(_ stems: [String]) -> [String] {
    var taken: Set<String> = []
    return stems.map { stem in
      let candidates = sequence(first: (stem, 2)) { ("\(stem)-\($0.1)", $0.1 + 1) }
      let name = candidates.first { !taken.contains($0.0) }!.0
      taken.insert(name)
      return name
    }
  }

  /// The name for all scales of a picture.
  static func scalesFile(of file: String) -> String {
    let ending = file.split(separator: ".").last.map(String.init) ?? "png"
    return Files.join(Files.folder(of: file), "\(Files.stem(of: file))-scales.\(ending)")
  }

  /// Takes back the folders that were made, if nothing came into them.
  func removeIfEmpty() { Files.removeEmpty(made) }
}

/// The flags of a ``PictureDestination``.
struct PictureDestinationFlags: ParsableArguments {
  @Option(help: "A file that ends in .png, .jpg or .webp, or a folder, which is made if missing.")
  var out: String

  @Option(help: "The pictures' format in a folder.")
  var format = PictureFileFormat.png
}
