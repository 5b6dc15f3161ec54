import MVAR
import Pictures

/// Decodes tokens one picture at a time and writes each.
struct PictureWriter {
  let tokenizer: PictureTokenizer
  let destination: PictureDestination
  /// Whether to write the picture after every scale too, side by side.
  let showsScales: Bool
  /// What the files say about themselves.
  let texts: PictureMetadata
  let console: Console

  /// - Parameter tokens: Gives the tokens of one picture.
  func write(_ tokens: (Int) async throws -> PictureTokens) async throws {
    var progress = console.progress(destination.files.count)
    defer { progress.finish() }
    for (index, file) in destination.files.enumerated() {
      try Task.checkCancellation()
      try await write(tokens(index), to: file)
      progress.advance("picture \(index + 1) of \(destination.files.count)")
    }
    progress.finish()
    for file in destination.files { try console.result(file) }
  }

  private func write(_ tokens: PictureTokens, to file: String) async throws {
    let format = try PictureFormat(endingOf: file)
    guard showsScales else {
      return try await tokenizer.pictures(of: tokens)[0].write(to: file, as: format, texts: texts)
    }
    let scales = try await tokenizer.picturesOfEveryScale(of: tokens).map { $0[0] }
    let strip = try PictureGrid(columns: scales.count).tiled(scales)
    try scales.last!.write(to: file, as: format, texts: texts)
    try strip.write(to: PictureDestination.scalesFile(of: file), as: format, texts: texts)
  }
}

extension PictureMetadata {
  /// What a picture that went through a tokenizer says about itself.
  static func decoded(by tokenizer: String, _ schedule: ScaleSchedule) -> PictureMetadata {
    [
      "Software": "mvar \(version)", "Tokenizer": Files.name(of: tokenizer),
      "Scales": schedule.description,
    ]
  }
}
