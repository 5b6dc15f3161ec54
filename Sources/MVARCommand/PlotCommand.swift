import ArgumentParser
import Foundation
import MVARTraining
import Pictures

struct PlotCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plot",
    abstract: "Draws the curves of training runs.",
    discussion: """
      Reads the JSON lines that `mvar train` writes, and draws one panel for each kind of number and \
      one colour for each run; numbers of the validation are dashed.

        mvar plot runs/* --out curves.svg
        mvar plot runs/d16 runs/d20 --metric loss --metric rate --smooth 200 --out curves.png

      A .png is drawn by the program rsvg-convert (Debian: librsvg2-bin).
      """)

  @Argument(help: "Folders of runs, or their .jsonl files.")
  var runs: [String]

  @Option(help: "The file to write; it ends in .svg or .png.")
  var out = "curves.svg"

  @Option(help: "A number to draw, by its name or the last part of it; give it several times.")
  var metric: [String] = ["loss", "accuracy"]

  @Option(parsing: .unconditional, help: "Average over about so many steps; 0 draws every number.")
  var smooth = 0.0

  @Flag(help: "Draw the vertical axes logarithmically.")
  var log = false

  @Option(parsing: .unconditional, help: "The width of the picture in pixels.")
  var width = 960

  @Flag(help: "Tell nothing.")
  var quiet = false

  func validate() throws {
    guard ["svg", "png"].contains(ending) else {
      throw ValidationError("\(out) does not end in .svg or .png; that is what is drawn")
    }
    guard smooth >= 0, smooth.isFinite else {
      throw ValidationError("smooth is \(smooth); use 0 or more steps")
    }
    guard (200...10_000).contains(width) else {
      throw ValidationError("width is \(width); use 200 to 10000")
    }
  }

  private var ending: String { out.split(separator: ".").last?.lowercased() ?? "" }

  func run() async throws {
    try Files.checkWritable(out)
    var check = OutputCheck(reading: runs.filter { !Files.isFolder($0) })
    try check.add(out, "--out")
    var plot = CurvePlot(metrics: metric)
    plot.smoothing = smooth
    plot.isLogarithmic = log
    plot.width = Double(width)
    let svg = try plot.svg(runs.map { try RunCurves($0) })
    if ending == "svg" {
      try writeWholeFile(Array(svg.utf8), to: out)
    } else {
      try writeWholeFile(try Self.rasterized(svg), to: out)
    }
    try Console(isQuiet: quiet).result(
      "\(out): \(runs.count) \(runs.count == 1 ? "run" : "runs")")
  }

  /// The SVG as the bytes of a PNG.
  private static func rasterized(_ svg: String) throws -> [UInt8] {
    let folder = FileManager.default.temporaryDirectory.appending(path: "mvar-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let (input, output) = (folder.appending(path: "p.svg"), folder.appending(path: "p.png"))
    try Data(svg.utf8).write(to: input)
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = ["rsvg-convert", "--output", output.path, input.path]
    process.standardError = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    guard process.terminationStatus == 0, let png = try? Data(contentsOf: output) else {
      throw CommandError(
        "rsvg-convert, which draws PNG files, does not run here; install it (Debian: "
          + "librsvg2-bin) or write an .svg")
    }
    return [UInt8](png)
  }
}
