import ArgumentParser
import MVAR

struct BenchCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench",
    abstract: "Measures how long generating takes.",
    discussion: """
      Uses random weights of the published shape, or those that
      Benchmarks/pytorch/make_random_checkpoint.py wrote, so that both programs compute the same.

        mvar bench --depth 16 --threads 2 --dtype bfloat16
        mvar bench --table --repeat 5        # M-VAR and VAR side by side
        mvar bench --weights /tmp/weights --json result.json
      """)

  enum Model: String, CaseIterable, ExpressibleByArgument {
    case mvar, `var`

    var kind: TransformerConfiguration.Kind { self == .mvar ? .mvar : .var }
  }

  @Option(help: "The kind of transformer.")
  var model = Model.mvar

  @Option(parsing: .unconditional, help: "Its blocks; it is 64 times as wide.")
  var depth = 16

  @Option(parsing: .unconditional, help: "The side of the pictures in pixels: 256 or 512.")
  var imageSize = 256

  @Option(parsing: .unconditional, help: "Pictures drawn at once.")
  var batch = 1

  @Option(
    name: .customLong("repeat"), parsing: .unconditional,
    help: "Measured runs after one to warm up; the median is reported.")
  var runs = 3

  @Flag(
    help: """
      Measure M-VAR and VAR, depths 16 and 24, in batches of 1, 8 and 64 (1 on a CPU), and print a table.
      """)
  var table = false

  @Flag(
    help: """
      Instead of times, compare the pictures of this precision with those of float32 computed operation by \
      operation, with the likeliest token everywhere.
      """)
  var agreement = false

  @Flag(help: "Measure each part of the transformer as well (on a GPU, in 16 bits).")
  var parts = false

  @Option(help: "A folder with mvar_d16.pth and vae_ch160v4096z32.pth, say.")
  var weights: String?

  @Option(
    defaultAsFlag: "-", parsing: .next,
    help: "Write a record to this file, or to standard output without one.")
  var json: String?

  @OptionGroup var compute: ComputeFlags

  func validate() throws {
    for (value, name, limit) in [
      (depth, "depth", 128), (batch, "batch", 65_536), (runs, "repeat", 1_000_000),
    ] {
      try checkPositive(value, name, atMost: limit)
    }
    guard imageSize == 256 || imageSize == 512 else {
      throw ValidationError("image-size is \(imageSize); use 256 or 512")
    }
    guard !table || !agreement else {
      throw ValidationError("--table and --agreement exclude each other")
    }
    guard !table || weights == nil else {
      throw ValidationError("--table uses random weights; leave out --weights")
    }
  }

  func run() async throws {
    try checkOutput()
    if table {
      let reports = try await BenchTable(self).run()
      if let json { try Record.write(reports, to: json) }
      return
    }
    let benchmark = try await prepared()
    if agreement {
      let agreement = try await agreement(of: benchmark)
      if json != "-" { try StandardStreams.writeOutput(agreement.text) }
      if let json { try Record.write(agreement, to: json) }
      return
    }
    let report = try await measured(benchmark, rates: try await benchmark.deviceRates())
    if json != "-" { try StandardStreams.writeOutput(report.text) }
    if let json { try Record.write(report, to: json) }
  }

  private func checkOutput() throws {
    if let json, json != "-" { try Files.checkWritable(json) }
    var check = OutputCheck(
      reading: weights.map { [modelFile(in: $0), tokenizerFile(in: $0)] } ?? [])
    try check.add(json, "--json")
  }

  private func modelFile(in folder: String) -> String {
    Files.join(folder, "\(model.rawValue)_d\(depth).pth")
  }

  private func tokenizerFile(in folder: String) -> String {
    Files.join(folder, ModelFiles.tokenizerNames[0])
  }

  /// Warms up, measures and reports.
  func measured(_ benchmark: SamplingBenchmark, rates: DeviceRates?) async throws -> BenchReport {
    _ = await benchmark.peakDeviceMemory(reset: true)
    let clock = ContinuousClock()
    let start = clock.now
    _ = try await benchmark.measure(batch: batch)
    // On a GPU the first run is done operation by operation, the second records graphs.
    if benchmark.device != .cpu { _ = try await benchmark.measure(batch: batch) }
    let settingUp = start.duration(to: clock.now)
    var measured: [SamplingBenchmark.Measurement] = []
    for _ in 0..<runs { measured.append(try await benchmark.measure(batch: batch)) }
    guard measured.allSatisfy({ $0.mean.isFinite }) else {
      throw CommandError("the result holds numbers that are not finite; use another --dtype")
    }
    var floor: Double?
    if let rates { floor = await benchmark.floor(batch: batch, rates) }
    return BenchReport(
      self, benchmark, measured, settingUp: settingUp, rates: rates, floor: floor,
      deviceMemory: await benchmark.peakDeviceMemory(),
      parts: parts ? try await benchmark.partTimes(batch: batch) : nil)
  }

  private func agreement(of benchmark: SamplingBenchmark) async throws -> BenchAgreement {
    var exact = self
    (exact.compute.dtype, exact.compute.fused, exact.compute.fp8) = (.float32, false, false)
    let expected = try await exact.prepared().likeliest(batch: batch)
    return BenchAgreement(
      found: try await benchmark.likeliest(batch: batch), expected: expected,
      dtype: benchmark.dtype.description, device: benchmark.device.description)
  }

  private var schedule: ScaleSchedule { imageSize == 256 ? .px256 : .px512 }

  func prepared() async throws -> SamplingBenchmark {
    let benchmark = try await loaded()
    Console(isQuiet: false).warn(kernelFailure: benchmark.kernelFailure)
    return benchmark
  }

  private func loaded() async throws -> SamplingBenchmark {
    guard let weights else {
      let configuration = TransformerConfiguration(
        kind: model.kind, depth: depth, schedule: schedule)
      return try await SamplingBenchmark(configuration, options: compute.options)
    }
    let file = modelFile(in: weights)
    let benchmark = try await SamplingBenchmark(
      model: file, tokenizer: tokenizerFile(in: weights), options: compute.options)
    guard benchmark.configuration.schedule == schedule else {
      throw CommandError(
        "\(file) is for the scales \(benchmark.configuration.schedule), not for \(imageSize) pixels; "
          + "use another --image-size")
    }
    return benchmark
  }
}
