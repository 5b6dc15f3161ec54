import MVAR
import MVAREvaluation
import Pictures
import Synchronization

/// Generates this process's share of a run and, in the first process, measures the whole.
struct GenerationEvaluation {
  let generator: ImageGenerator
  let evaluator: Evaluator
  let files: ModelFiles
  let digests: Digests
  let share: ProcessShare
  let console: Console
  let samples: Int
  let seed: UInt64
  let batch: Int
  let npz: String?
  let statistics: String?
  let isTidy: Bool
  /// Nil in all processes but the first.
  let reference: Reference?
  let referenceName: String
  let comparison: Evaluator.Comparison

  /// - Returns: Nil in all processes but the first.
  /// - Throws: `CancellationError` once the task is cancelled; what is finished is kept in the folder.
  func run(_ sampling: SamplingSettings, in folder: String) async throws -> EvaluationReport? {
    let start = ContinuousClock.now
    let settings = settings(sampling)
    let run = try GenerationRun(
      folder, settings: settings, share: share, lengths: await evaluator.featureLengths,
      pictureSize: npz == nil ? nil : generator.pictureSize)
    if let warning = settings.balanceWarning { console.note("warning: \(warning)") }
    do {
      try await generate(run)
    } catch {
      await generator.drain()
      if error is CancellationError {
        console.note("what is done is in \(folder); the same command goes on from there")
      }
      throw error
    }
    guard let reference else { return nil }
    try await waitForOthers(run)
    let made = try await measure(run)
    if let statistics { try made.write(to: statistics) }
    if let npz { try run.writePictures(to: npz) }
    let result = try await evaluator.compare(made, with: reference, comparison)
    let report = EvaluationReport(
      settings: settings, reference: referenceName, result: result,
      seconds: start.duration(to: .now).inSeconds)
    try Record.write(report, to: Files.join(folder, "result.json"))
    if isTidy { run.removeRecords() }
    return report
  }

  private func settings(_ sampling: SamplingSettings) -> GenerationSettings {
    GenerationSettings(
      model: files.model, modelDigest: digests.model, tokenizer: files.tokenizer,
      tokenizerDigest: digests.tokenizer, sampling: sampling, seed: seed, samples: samples,
      classes: files.configuration.classes, dtype: "\(generator.dtype)",
      device: generator.device == .cpu ? "cpu" : "cuda", network: evaluator.network)
  }

  private func generate(_ run: GenerationRun) async throws {
    let missing = run.missing
    let share = share.range(of: samples).count
    if run.done > 0 { console.note("\(run.done) of \(samples) pictures are there already") }
    let progress = SharedProgress(console, share, "pictures")
    defer { progress.finish() }
    progress.begin(at: share - missing.count)
    for start in stride(from: 0, to: missing.count, by: batch) {
      let indices = Array(missing[start..<min(start + batch, missing.count)])
      let pictures = try await generator.pictures(
        indices.map(run.settings.request), settings: run.settings.sampling)
      try run.add(indices, await evaluator.features(of: pictures), pictures)
      progress.reach(share - missing.count + start + indices.count)
      try Task.checkCancellation()
    }
  }

  private func waitForOthers(_ run: GenerationRun) async throws {
    try run.refresh()
    if run.done == samples { return }
    console.note("waiting for the other \(share.count - 1) processes")
    let progress = SharedProgress(console, samples, "pictures of all processes")
    defer { progress.finish() }
    progress.begin(at: run.done)
    try await run.waitForAll { progress.reach($0) }
  }

  private func measure(_ run: GenerationRun) async throws -> SetStatistics {
    let wantsFeatures = comparison.neighbours || comparison.kernel || comparison.resamples > 0
    let set = await evaluator.begin(
      MeasuringPlan(count: samples, keepsFeatures: wantsFeatures))
    let next = run.batches(of: 512)
    while let features = try next() {
      try Task.checkCancellation()
      try await evaluator.add(features, to: set)
    }
    return try await evaluator.finish(set)
  }
}

/// Progress whose total is known later.
final class ReferenceProgress: Sendable {
  private let console: Console
  private let progress = Mutex<SharedProgress?>(nil)

  init(_ console: Console) { self.console = console }

  func reach(_ done: Int, of total: Int) {
    let shared = progress.withLock { progress in
      let shared = progress ?? SharedProgress(console, total, "real pictures")
      progress = shared
      return shared
    }
    shared.reach(done)
  }

  func finish() { progress.withLock { $0?.finish() } }
}
