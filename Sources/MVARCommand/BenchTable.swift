import Foundation
import MVAR

/// Measures the models and batch sizes that people compare, one after the other.
struct BenchTable {
  private let command: BenchCommand

  init(_ command: BenchCommand) { self.command = command }

  func run() async throws -> [BenchReport] {
    var reports: [BenchReport] = []
    var rates: DeviceRates?
    for depth in [16, 24] {
      for model in BenchCommand.Model.allCases {
        var row = command
        (row.model, row.depth) = (model, depth)
        let benchmark = try await row.prepared()
        if rates == nil { rates = try await benchmark.deviceRates() }
        if reports.isEmpty { try print(Self.heading(benchmark, row, rates)) }
        for batch in benchmark.device == .cpu ? [1] : [1, 8, 64] {
          row.batch = batch
          let report = try await row.measured(benchmark, rates: rates)
          try print(Self.line(report))
          reports.append(report)
        }
      }
    }
    return reports
  }

  private func print(_ text: String) throws {
    if command.json != "-" { try StandardStreams.writeOutput(text) }
  }

  private static func heading(
    _ benchmark: SamplingBenchmark, _ command: BenchCommand, _ rates: DeviceRates?
  ) -> String {
    let measured = rates.map {
      "; copies at \(Quantity.rounded($0.bytesPerSecond / 1e12, 2)) TB/s, products at "
        + "\(Quantity.rounded($0.operationsPerSecond / 1e12, 0)) TFLOP/s"
    }
    return """
      \(command.imageSize) px, \(benchmark.dtype), \(benchmark.device), median of \(command.runs)\(measured ?? "")
      model     batch  transformer  decoder    total  images/s  of the floor     GiB
      """
  }

  private static func line(_ report: BenchReport) -> String {
    func milliseconds(_ seconds: Double) -> String { Quantity.rounded(1000 * seconds, 2) }
    let (settings, seconds) = (report.settings, report.secondsPerImage)
    let memory = Double(report.peakDeviceBytes ?? report.peakRSSBytes) / 0x1p30
    let columns = [
      ("\(settings.batch)", 7), (milliseconds(seconds.transformer), 13),
      (milliseconds(seconds.decoder), 9), (milliseconds(seconds.total), 9),
      (Quantity.rounded(1 / seconds.total, 1), 10),
      (report.floor.map { "\(Quantity.rounded(100 * $0 / seconds.total, 0)) %" } ?? "", 14),
      (Quantity.rounded(memory, 2), 8),
    ]
    let name = "\(settings.model) d\(settings.depth)"
    return name.padding(toLength: 8, withPad: " ", startingAt: 0)
      + columns.map { String(repeating: " ", count: max(0, $1 - $0.count)) + $0 }.joined()
  }
}
