import MVAR
import Pictures

/// Draws pictures batch by batch, and writes those that are finished while the next are drawn.
struct SampleRun {
  let generator: ImageGenerator
  let origin: PictureOrigin
  let destination: SampleDestination
  let console: Console
  /// Without a record for a preview.
  private var writing = BackgroundWork<PictureRecord?>()
  private var pictures: [Picture] = []
  private var progress: Progress

  init(
    generator: ImageGenerator, origin: PictureOrigin, destination: SampleDestination,
    console: Console
  ) {
    self.generator = generator
    self.origin = origin
    self.destination = destination
    self.console = console
    progress = console.progress(1)
  }

  /// - Throws: `CancellationError` once the task is cancelled; what is finished is kept and recorded.
  mutating func draw(_ jobs: [SampleJob], batch: Int) async throws {
    progress = console.progress(jobs.count * generator.configuration.schedule.tokenCount)
    var failure: (any Error)?
    do {
      for start in stride(from: 0, to: jobs.count, by: batch) {
        let part = Array(jobs[start..<min(start + batch, jobs.count)])
        try await drawBatch(part, of: jobs.count)
      }
    } catch {
      failure = error
      await generator.drain()
    }
    do { try await writing.finish() } catch { failure = failure ?? error }
    progress.finish()
    try finish(jobs, after: failure)
  }

  private mutating func drawBatch(_ jobs: [SampleJob], of total: Int) async throws {
    let start = ContinuousClock.now
    let sizes = generator.configuration.schedule.sizes
    let scales = generator.scales(
      jobs.map(\.request), settings: origin.settings, previews: destination.previews,
      traceFile: destination.trace)
    for try await scale in scales {
      let label =
        "scale \(scale.index + 1) of \(scale.count), picture \(jobs[0].index + 1) of \(total)"
      progress.advance(label, by: sizes[scale.index].count * jobs.count)
      if destination.previews { try await writePreviews(scale, jobs) }
      guard scale.isLast, let pictures = scale.pictures else { continue }
      let seconds = start.duration(to: .now).inSeconds / Double(jobs.count)
      for (job, picture) in zip(jobs, pictures) {
        try await keep(picture, of: job, seconds)
      }
    }
    try Task.checkCancellation()
    progress.milestone("\(jobs.last!.index + 1) of \(total) pictures")
  }

  private mutating func keep(_ picture: Picture, of job: SampleJob, _ seconds: Double) async throws
  {
    let (file, origin) = (destination.file(job), origin)
    try await write(picture, of: job, to: file) {
      PictureRecord(job, file: file, picture: picture, origin: origin, seconds: seconds)
    }
    if destination.grid != nil { pictures.append(picture) }
  }

  private mutating func writePreviews(_ scale: GeneratedScale, _ jobs: [SampleJob]) async throws {
    for (job, picture) in zip(jobs, scale.pictures ?? []) {
      try await write(picture, of: job, to: destination.preview(job, scale: scale.index)) { nil }
    }
  }

  private mutating func write(
    _ picture: Picture, of job: SampleJob, to file: String,
    record: @escaping @Sendable () -> PictureRecord?
  ) async throws {
    let (format, origin) = (destination.format.format, origin)
    try await writing.add {
      try picture.write(to: file, as: format, texts: origin.texts(job))
      return record()
    }
  }

  private func finish(_ jobs: [SampleJob], after failure: (any Error)?) throws {
    let records = writing.outputs.compactMap { $0 }
    if let grid = destination.grid, failure == nil { try writeGrid(jobs, to: grid) }
    if let json = destination.json { try Record.write(records, to: json) }
    if let failure {
      if failure is CancellationError, !records.isEmpty {
        console.note("\(records.count) of \(jobs.count) pictures are in \(destination.folder)")
      }
      throw failure
    }
    let seeds =
      jobs.count == 1 ? "seed \(jobs[0].seed)" : "seeds \(jobs[0].seed)-\(jobs.last!.seed)"
    let noun = jobs.count == 1 ? "picture" : "pictures"
    try console.result("\(jobs.count) \(noun) in \(destination.folder) (\(seeds))")
    if let grid = destination.grid { try console.result("all of them in \(grid)") }
  }

  /// A row for each class, where that is neither too wide nor too narrow.
  private func writeGrid(_ jobs: [SampleJob], to path: String) throws {
    let ofOneClass = jobs.prefix { $0.label == jobs[0].label }.count
    let isTable =
      (2...12).contains(ofOneClass) && ofOneClass < jobs.count
      && jobs.count % ofOneClass == 0
    let grid = PictureGrid(columns: isTable ? ofOneClass : nil)
    let texts: PictureMetadata = ["Software": "mvar \(version)"]
    try grid.tiled(pictures).write(to: path, as: PictureFormat(endingOf: path), texts: texts)
  }
}
