import MVAR
import Pictures

/// An edit of a region of one picture: what the commands for it share.
struct RegionEdit {
  let session: EditSession
  let image: EditedImageFlags
  let edges: EdgeFlags
  let keeping: KeepingFlags
  let results: EditedCountFlags
  /// Nil for no class in particular.
  let classText: String?
  var margins = EditCanvas.Margins()
  var keptScales = 0
  /// With what only its own command knows.
  var description: EditDescription
  /// Files that are read besides the picture.
  var sources: [String] = []

  /// - Parameter mask: Makes the mask for the picture; nil for nothing inside it.
  func draw(mask: (Picture) throws -> EditMask?) async throws {
    let picture = try Picture(contentsOf: image.image)
    let region = try mask(picture)
    let files = try await session.files()
    let chosen = try EditedClass(
      classText, of: files.configuration, seed: results.seed)
    let edited = try EditedPicture(
      picture, mask: region, margins: margins, fit: image.fit, edges: edges.value, files)
    edited.explain(image.image, keeping, session.console)
    let fitted = edited.canvas.fitted
    try await session.draw(
      results.seeds.map { seed in
        EditJob(
          work: .edit(
            EditRequest(
              picture: fitted, mask: edited.fittedMask, label: chosen.label, seed: seed,
              edges: edges.value, keptScales: keptScales)),
          stem: "\(Files.stem(of: image.image))-\(description.kind)-seed\(seed)",
          className: chosen.name, description: described)
      }, files, sources: [image.image] + sources, finish: edited.finish(keeping))
  }

  private var described: EditDescription {
    var description = description
    description.add(image)
    description.add(edges)
    description.add(keeping)
    return description
  }
}
