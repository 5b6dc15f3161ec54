import ArgumentParser
import MVAREvaluation
import Torch

/// Measures `mvar evaluate` itself; hidden, as it is for those who work on it.
struct EvaluateBenchCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench",
    abstract: "Measures how fast pictures are looked at and compared.",
    discussion: """
      Random weights of Inception's shape and random pictures.

        mvar evaluate bench --device cuda --side 299 --batches 40
      """,
    shouldDisplay: false)

  @Option(parsing: .unconditional, help: "The side of the pictures in pixels.")
  var side = 299

  @Option(parsing: .unconditional, help: "Measured batches, after some to warm up.")
  var batches = 20

  @Option(parsing: .unconditional, help: "Pictures a batch. (default: 32 on a CPU, 256 on a GPU)")
  var batch: Int?

  @Option(parsing: .unconditional, help: "Real pictures of precision and recall; 0 to skip them.")
  var real = 10_000

  @Option(parsing: .unconditional, help: "Generated pictures of precision and recall.")
  var generated = 50_000

  @Option(parsing: .unconditional, help: "The length of the features that are compared.")
  var length = 2048

  @Flag(inversion: .prefixedNo, help: "Let a GPU multiply in TF32 inside the network.")
  var tf32 = true

  @OptionGroup var placement: PlacementFlags

  @Option(
    defaultAsFlag: "-", parsing: .next,
    help: "Write a record to this file, or to standard output without one.")
  var json: String?

  func validate() throws {
    for (value, name, limit) in [
      (side, "side", 16_384), (batches, "batches", 1_000_000), (batch ?? 1, "batch", 65_536),
      (length, "length", 65_536), (max(real, 1), "real", 10_000_000),
      (max(generated, 1), "generated", 10_000_000),
    ] {
      try checkPositive(value, name, atMost: limit)
    }
    guard real == 0 || real > 3 && generated > 3 else {
      throw ValidationError("real is \(real) and generated \(generated); use 4 or more")
    }
  }

  private struct Report: Encodable {
    let program = "mvar \(version)"
    let torch = LibTorch.version
    let device: String
    let side: Int
    let batch: Int
    let tf32: Bool
    let picturesPerSecond: Double
    let secondsForDistance: Double
    let secondsForNeighbours: Double?
    let real: Int
    let generated: Int

    private enum CodingKeys: String, CodingKey {
      case program, torch, device, side, batch, tf32, real, generated
      case picturesPerSecond = "pictures_per_second"
      case secondsForDistance = "seconds_for_frechet_distance"
      case secondsForNeighbours = "seconds_for_precision_and_recall"
    }
  }

  func run() async throws {
    let options = placement.options(.float32)
    try options.prepare()
    if let json, json != "-" { try Files.checkWritable(json) }
    let benchmark = try await EvaluationBenchmark(options: options, batch: batch, usesTF32: tf32)
    let evaluator = benchmark.evaluator
    let report = Report(
      device: "\(evaluator.device)", side: side, batch: evaluator.batch, tf32: evaluator.usesTF32,
      picturesPerSecond: try await benchmark.picturesPerSecond(side: side, batches: batches),
      secondsForDistance: try await benchmark.secondsForDistance(length: length),
      secondsForNeighbours: real == 0
        ? nil
        : try await benchmark.secondsForNeighbours(
          real: real, generated: generated, length: length),
      real: real, generated: generated)
    if json != "-" {
      let console = Console(isQuiet: false)
      try console.result(
        "\(report.device), \(side) px, batch \(report.batch), \(report.tf32 ? "TF32" : "float32")")
      try console.result(
        "features             \(Quantity.rounded(report.picturesPerSecond, 1)) pictures a second")
      try console.result(
        "Fréchet distance     \(Quantity.rounded(report.secondsForDistance, 2)) s")
      if let seconds = report.secondsForNeighbours {
        try console.result(
          "precision and recall \(Quantity.rounded(seconds, 2)) s (\(generated) × \(real))")
      }
    }
    if let json { try Record.write(report, to: json) }
  }
}
