import Foundation
import MVAR
import Torch

/// A benchmark's result, with the names that `Benchmarks/pytorch/bench.py` uses.
struct BenchReport: Encodable {
  struct Settings: Encodable {
    let model: String
    let depth: Int
    let imageSize: Int
    let batch: Int
    let dtype: String
    let fp8: Bool
    let device: String
    let threads: Int
    let `repeat`: Int
    let weights: String?
  }

  /// Seconds an image.
  struct Seconds: Encodable {
    let transformer: Double
    let decoder: Double
    let total: Double
  }

  let program = "swift-mvar"
  let torch: String
  let settings: Settings
  let secondsPerImage: Seconds
  let runs: [Seconds]
  /// Of the last run, for the batch.
  let secondsByScale: [Double]
  let meanOfResult: Double
  let peakRSSBytes: Int
  let peakDeviceBytes: Int?
  /// Of the first runs: on a GPU two, which record graphs.
  let secondsOfFirstRuns: Double
  /// Before them: kernels compiled, or read from where they are kept.
  let secondsOfKernels: Double?
  /// Then what classes alone decide, where a GPU has room for that.
  let classTable: SamplingBenchmark.TableSize?
  let rates: DeviceRates?
  /// Seconds an image that no implementation beats on this device.
  let floor: Double?
  let parts: [SamplingBenchmark.PartTime]?

  private enum CodingKeys: String, CodingKey {
    case program, torch, settings, runs, parts, rates
    case floor = "floor_seconds_per_image"
    case secondsOfFirstRuns = "seconds_of_first_runs"
    case secondsOfKernels = "seconds_of_kernels"
    case classTable = "class_table"
    case secondsPerImage = "seconds_per_image"
    case secondsByScale = "seconds_by_scale"
    case meanOfResult = "mean_of_result"
    case peakRSSBytes = "peak_rss_bytes"
    case peakDeviceBytes = "peak_device_bytes"
  }

  init(
    _ command: BenchCommand, _ benchmark: SamplingBenchmark,
    _ measured: [SamplingBenchmark.Measurement], settingUp: Duration, rates: DeviceRates?,
    floor: Double?, deviceMemory: Int?,
    parts: [SamplingBenchmark.PartTime]?
  ) {
    peakDeviceBytes = deviceMemory
    secondsOfFirstRuns = settingUp / .seconds(1)
    secondsOfKernels = benchmark.secondsOfKernels
    classTable = benchmark.classTable
    self.rates = rates
    self.parts = parts
    let images = Double(command.batch)
    self.floor = floor.map { $0 / images }
    torch = LibTorch.version
    settings = Settings(
      model: command.model.rawValue, depth: command.depth, imageSize: command.imageSize,
      batch: command.batch, dtype: benchmark.dtype.description,
      fp8: command.compute.fp8,
      device: benchmark.device.description, threads: benchmark.threads, repeat: command.runs,
      weights: command.weights)
    runs = measured.map {
      Seconds(
        transformer: $0.transformer / images, decoder: $0.decoder / images,
        total: $0.total / images)
    }
    secondsPerImage = Seconds(
      transformer: median(runs.map(\.transformer)), decoder: median(runs.map(\.decoder)),
      total: median(runs.map(\.total)))
    secondsByScale = measured.last!.scales
    meanOfResult = measured.last!.mean
    peakRSSBytes = Self.peakMemory()
  }

  /// For people.
  var text: String {
    let s = settings
    let how =
      "\(s.model) d\(s.depth), \(s.imageSize) px, batch \(s.batch), \(s.dtype)\(s.fp8 ? " with fp8" : "")"
    let place = s.device == "cpu" ? "\(s.threads) threads" : s.device
    let rows = [
      ("transformer", secondsPerImage.transformer), ("decoder", secondsPerImage.decoder),
      ("total", secondsPerImage.total),
    ].map { name, seconds in
      name + String(repeating: " ", count: 13 - name.count)
        + "\(Quantity.rounded(seconds, 4)) s an image (median of \(s.repeat))"
    }
    let scales = secondsByScale.map { Quantity.rounded($0 * 1000, 3) }.joined(separator: " ")
    let memory = "peak memory  \(Quantity.rounded(Double(peakRSSBytes) / 0x1p30, 2)) GiB"
    return
      (["\(how); libtorch \(torch); \(place)"] + rows + [
        "by scale     \(scales) ms a batch",
        "first runs   \(Quantity.rounded(secondsOfFirstRuns, 2)) s, with all that is done once",
        memory,
      ] + deviceRows + partRows)
      .joined(separator: "\n")
  }

  /// What only a GPU has.
  private var deviceRows: [String] {
    let memory = peakDeviceBytes.map {
      "on the GPU   \(Quantity.rounded(Double($0) / 0x1p30, 2)) GiB"
    }
    let kernels = secondsOfKernels.map {
      "kernels      \(Quantity.rounded($0, 2)) s to compile, or to read from where they are kept"
    }
    let classes = classTable.map {
      "classes      \(Quantity.rounded($0.seconds, 2)) s and "
        + "\(Quantity.rounded(Double($0.bytes) / 0x1p30, 2)) GiB for the first scale of all of them"
    }
    guard let rates, let floor else { return [kernels, classes, memory].compactMap { $0 } }
    let copy = Quantity.rounded(rates.bytesPerSecond / 1e12, 2)
    let product = Quantity.rounded(rates.operationsPerSecond / 1e12, 0)
    let share = Quantity.rounded(100 * floor / secondsPerImage.total, 0)
    return [
      kernels, classes, memory,
      "floor        \(Quantity.rounded(floor, 4)) s an image, \(share) % of the time; copies at \(copy) TB/s, "
        + "products at \(product) TFLOP/s",
    ].compactMap { $0 }
  }

  /// Milliseconds a batch, by part of the transformer.
  private var partRows: [String] {
    (parts ?? []).map { part in
      let scales = part.millisecondsByScale.map { Quantity.rounded($0, 3) }.joined(separator: " ")
      let name = part.part.padding(toLength: 16, withPad: " ", startingAt: 0)
      return "\(name) \(Quantity.rounded(part.milliseconds, 3)) ms a batch, by scale: \(scales)"
    }
  }

  private static func peakMemory() -> Int {
    var usage = rusage()
    #if os(Linux)
      getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
      return usage.ru_maxrss * 1024
    #else
      getrusage(RUSAGE_SELF, &usage)
      return usage.ru_maxrss
    #endif
  }
}

private func median(_ values: [Double]) -> Double {
  let sorted = values.sorted()
  let middle = sorted.count / 2
  return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}
