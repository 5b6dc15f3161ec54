import MVAR
import Pictures

/// What all edits do around their own work.
struct EditSession {
  let checkpoints: CheckpointFlags
  let sampling: SamplingFlags
  let compute: ComputeFlags
  let output: EditOutputFlags

  var console: Console { Console(isQuiet: output.quiet, outputIsRecord: output.json == "-") }

  /// The files to draw with, of which only the headers are read.
  func files() async throws -> ModelFiles {
    try compute.options.prepare()
    return try await checkpoints.files(console)
  }

  /// Draws and writes the results of some jobs.
  ///
  /// - Parameters:
  ///   - sources: Files that are read and must not be replaced.
  ///   - finish: What a drawn picture still needs.
  func draw(
    _ jobs: [EditJob], _ files: ModelFiles, sources: [String] = [],
    finish: @escaping (Picture) -> Picture = { $0 }
  ) async throws {
    let destination = try PictureDestination(
      output.destination.out, stems: jobs.map(\.stem), format: output.destination.format,
      sources: sources + files.filesRead,
      besides: { file in
        guard output.previews else { return [] }
        return files.configuration.schedule.sizes.indices.map {
          PictureDestination.preview(of: file, scale: $0)
        }
      })
    do {
      let grid = output.grid.map { destination.grid($0, output.destination.format) }
      var check = destination.check
      try check.add(grid, "--grid")
      try check.add(output.json, "--json")
      for file in [grid, output.json == "-" ? nil : output.json].compactMap({ $0 }) {
        try Files.checkWritable(file)
      }
      let digests = output.json == nil ? nil : try Digests(files)
      let generator = try await files.generator(
        compute.options, edits: jobs.contains(where: \.readsPicture), console)
      let origin = PictureOrigin(
        settings: sampling.settings, files: files, digests: digests, dtype: generator.dtype,
        device: generator.device)
      var run = EditRun(
        generator: generator, origin: origin, destination: destination, output: output,
        console: console, finish: finish)
      try await run.draw(jobs, batch: output.batch ?? (generator.device == .cpu ? 4 : 16))
    } catch {
      destination.removeIfEmpty()
      throw error
    }
  }
}

/// A picture and the part of it that is drawn anew.
struct EditedPicture {
  let canvas: EditCanvas
  /// Of the original's size; nil for nothing inside it.
  let mask: EditMask?
  /// As the model sees it.
  let fittedMask: EditMask

  /// - Parameters:
  ///   - picture: Read already, so that a bad file is told before a model is looked at.
  ///   - mask: Of the picture's size.
  /// - Throws: Where the picture, the mask and the model do not go together.
  init(
    _ picture: Picture, mask: EditMask?, margins: EditCanvas.Margins = .init(), fit: PictureFit,
    edges: MaskEdges, _ files: ModelFiles
  ) throws {
    self.mask = mask
    canvas = try EditCanvas(picture, margins: margins, modelSize: try files.pictureSize(), fit: fit)
    fittedMask = try canvas.fitted(mask, edges: edges, schedule: files.configuration.schedule)
  }

  /// Says what happens to a picture of another size.
  func explain(_ name: String, _ keeping: KeepingFlags, _ console: Console) {
    guard !canvas.isExact else { return }
    func size(_ size: (width: Int, height: Int)) -> String { "\(size.width) × \(size.height)" }
    let back =
      keeping.keepPixels
      ? "what is drawn is resized to fit the original's pixels"
      : "the result stays as the model sees it"
    console.note(
      "\(name): its \(size(canvas.canvasSize)) pixels are resized to \(size(canvas.scaledSize)) for a "
        + "model that draws \(size(canvas.modelSize)); \(back)")
  }

  /// What turns a drawn picture into a result.
  func finish(_ keeping: KeepingFlags) -> (Picture) -> Picture {
    { drawn in
      keeping.keepPixels
        ? canvas.finished(drawn, keepingPixelsOutside: mask, feather: keeping.feather)
        : canvas.finished(drawn)
    }
  }
}
