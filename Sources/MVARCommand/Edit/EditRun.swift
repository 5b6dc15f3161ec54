import MVAR
import Pictures

/// Draws results batch by batch, and writes those that are finished while the next are drawn.
struct EditRun {
  let generator: ImageGenerator
  let origin: PictureOrigin
  let destination: PictureDestination
  let output: EditOutputFlags
  let console: Console
  /// What a drawn picture still needs.
  let finish: (Picture) -> Picture
  /// Without a record for a preview.
  private var writing = BackgroundWork<EditRecord?>()
  private var pictures: [Picture] = []
  private var progress: Progress

  init(
    generator: ImageGenerator, origin: PictureOrigin, destination: PictureDestination,
    output: EditOutputFlags, console: Console, finish: @escaping (Picture) -> Picture
  ) {
    self.generator = generator
    self.origin = origin
    self.destination = destination
    self.output = output
    self.console = console
    self.finish = finish
    progress = console.progress(1)
  }

  /// - Throws: `CancellationError` once the task is cancelled; what is finished is kept and recorded.
  mutating func draw(_ jobs: [EditJob], batch: Int) async throws {
    progress = console.progress(jobs.count * generator.configuration.schedule.tokenCount)
    var failure: (any Error)?
    do {
      for start in stride(from: 0, to: jobs.count, by: batch) {
        try await draw(jobs, start..<min(start + batch, jobs.count))
      }
    } catch {
      failure = error
      await generator.drain()
    }
    do { try await writing.finish() } catch { failure = failure ?? error }
    progress.finish()
    try finish(jobs, after: failure)
  }

  private mutating func draw(_ jobs: [EditJob], _ range: Range<Int>) async throws {
    let start = ContinuousClock.now
    let sizes = generator.configuration.schedule.sizes
    let part = Array(jobs[range])
    let scales = part.scales(generator, settings: origin.settings, previews: output.previews)
    for try await scale in scales {
      let label =
        "scale \(scale.index + 1) of \(scale.count), picture \(range.lowerBound + 1) of \(jobs.count)"
      progress.advance(label, by: sizes[scale.index].count * part.count)
      guard let drawn = scale.pictures else { continue }
      let results = drawn.map(finish)
      for (index, picture) in zip(range, results) where output.previews {
        let file = PictureDestination.preview(of: destination.files[index], scale: scale.index)
        try await write(picture, jobs[index], to: file) { nil }
      }
      guard scale.isLast else { continue }
      let seconds = start.duration(to: .now).inSeconds / Double(part.count)
      for (index, picture) in zip(range, results) {
        try await keep(picture, jobs[index], index, seconds)
      }
    }
    try Task.checkCancellation()
    progress.milestone("\(range.upperBound) of \(jobs.count) pictures")
  }

  private mutating func keep(
    _ picture: Picture, _ job: EditJob, _ index: Int, _ seconds: Double
  ) async throws {
    let (file, origin) = (destination.files[index], origin)
    try await write(picture, job, to: file) {
      EditRecord(job, index: index, file: file, picture: picture, origin: origin, seconds: seconds)
    }
    if output.grid != nil { pictures.append(picture) }
  }

  private mutating func write(
    _ picture: Picture, _ job: EditJob, to file: String,
    record: @escaping @Sendable () -> EditRecord?
  ) async throws {
    let texts = origin.texts(
      label: job.label, name: job.className, seed: job.seed, edit: job.description)
    try await writing.add {
      try picture.write(to: file, as: PictureFormat(endingOf: file), texts: texts)
      return record()
    }
  }

  private func finish(_ jobs: [EditJob], after failure: (any Error)?) throws {
    let records = writing.outputs.compactMap { $0 }
    if let grid, failure == nil {
      let texts: PictureMetadata = ["Software": "mvar \(version)"]
      let columns = jobs.count <= 12 ? jobs.count : nil
      try PictureGrid(columns: columns).tiled(pictures)
        .write(to: grid, as: PictureFormat(endingOf: grid), texts: texts)
    }
    if let json = output.json { try Record.write(records, to: json) }
    if let failure {
      if failure is CancellationError, !records.isEmpty {
        console.note("\(records.count) of \(jobs.count) pictures are finished and kept")
      }
      throw failure
    }
    for record in records { try console.result(record.file) }
    if let grid { try console.result(grid) }
  }

  private var grid: String? { output.grid.map { destination.grid($0, output.destination.format) } }
}

extension PictureDestination {
  /// The file for a result after one scale.
  static func preview(of file: String, scale: Int) -> String {
    let ending = file.split(separator: ".").last.map(String.init) ?? "png"
    let name = "\(Files.stem(of: file))-scale\(scale < 10 ? "0" : "")\(scale).\(ending)"
    return Files.join(Files.folder(of: file), name)
  }

  /// The file for all pictures side by side.
  func grid(_ named: String, _ format: PictureFileFormat) -> String {
    named.isEmpty ? Files.join(Files.folder(of: files[0]), "grid.\(format.ending)") : named
  }
}
