import ArgumentParser
import Pictures

/// What a run writes, and where.
struct SampleOutputFlags: ParsableArguments {
  @Option(help: "The folder for the pictures; it is made if it is missing.")
  var out = "pictures"

  @Option(help: "The pictures' format.")
  var format = PictureFileFormat.png

  @Option(
    defaultAsFlag: "", parsing: .next,
    help: "Also write all pictures side by side. (default FILE: grid.png in the folder)")
  var grid: String?

  @Flag(help: "Also write the picture after every scale, as …-scale00.png and so on.")
  var previews = false

  @Option(
    help: """
      Also write every decision to this .safetensors file: tokens.K [B, n] int64, logits.K \
      [2B, n, V] float32 before guidance (conditional rows first), image [B, 3, H, W] float32 in \
      [0, 1]. All pictures are drawn in one batch.
      """)
  var trace: String?

  @Option(
    defaultAsFlag: "-", parsing: .next,
    help: "Write a record of every picture to this file, or to standard output without one.")
  var json: String?

  @Flag(help: "Show no progress and no summary.")
  var quiet = false

  func validate() throws {
    if let grid, !grid.isEmpty {
      do { _ = try PictureFormat(endingOf: grid) } catch {
        throw ValidationError(error.description)
      }
    }
    if let trace, !trace.lowercased().hasSuffix(".safetensors") {
      throw ValidationError("trace is \(trace); name a file that ends in .safetensors")
    }
  }
}

/// Where a run's files go, checked before anything is computed.
struct SampleDestination {
  let folder: String
  let format: PictureFileFormat
  let grid: String?
  let previews: Bool
  let trace: String?
  let json: String?
  private let made: [String]

  /// - Parameter sources: Files that are read and must not be replaced.
  /// - Throws: ``CommandError`` for a place that cannot be written to, ``UsageError`` for a file that is read or written already.
  init(_ flags: SampleOutputFlags, _ jobs: [SampleJob], reading sources: [String]) throws {
    folder = flags.out
    format = flags.format
    previews = flags.previews
    trace = flags.trace
    json = flags.json
    grid = flags.grid.map {
      $0.isEmpty ? Files.join(flags.out, "grid.\(flags.format.ending)") : $0
    }
    made = try Files.makeFolder(folder)
    do {
      for file in [grid, trace, json == "-" ? nil : json].compactMap({ $0 }) {
        try Files.checkWritable(file)
      }
      try check(jobs, reading: sources)
    } catch {
      removeIfEmpty()
      throw error
    }
  }

  private func check(_ jobs: [SampleJob], reading sources: [String]) throws(UsageError) {
    var check = OutputCheck(reading: sources)
    for (file, option) in [(grid, "--grid"), (trace, "--trace"), (json, "--json")] {
      try check.add(file, option)
      guard let file, Files.areSame(Files.folder(of: file), folder) else { continue }
      let name = Files.name(of: file)
      // Previews begin like their picture.
      if name.hasSuffix(".\(format.ending)"), jobs.contains(where: { name.hasPrefix($0.stem) }) {
        throw UsageError("\(file) is a picture of this run; choose another \(option)")
      }
    }
  }

  func file(_ job: SampleJob) -> String {
    Files.join(folder, "\(job.stem).\(format.ending)")
  }

  func preview(_ job: SampleJob, scale: Int) -> String {
    Files.join(folder, "\(job.stem)-scale\(scale < 10 ? "0" : "")\(scale).\(format.ending)")
  }

  /// Takes back the folders that were made, if nothing came into them.
  func removeIfEmpty() { Files.removeEmpty(made) }
}
