import MVAR
import Pictures

/// Reads pictures and makes them the size that a schedule wants, all before a tokenizer is loaded, so
/// that a bad file is told at once.
func fittedPictures(
  _ flags: PictureFlags, schedule: ScaleSchedule, tokenizer: TokenizerConfiguration
) throws -> [Picture] {
  let patch = tokenizer.patchSize
  let size = (width: schedule.final.width * patch, height: schedule.final.height * patch)
  return try flags.image.map { path in
    try Task.checkCancellation()
    return try Picture(contentsOf: path).fitted(to: size, fit: flags.fit)
  }
}
