import MVAR
import MVARTraining

/// Where the tokens of a model's training come from.
struct ModelData: Sendable {
  let path: String
  let holdOut: Double

  /// - Throws: ``TrainingError`` naming what does not fit.
  func open(_ settings: ModelTrainingSettings, _ tokenizer: TokenizerConfiguration) throws
    -> TrainingData
  {
    let file = try TokenFile(contentsOf: path)
    try file.check(vocabulary: tokenizer.vocabulary, path)
    let (training, heldOut) = file.holdingOut(holdOut)
    let batches = try TokensInMemory(
      training.tokens, labels: training.labels, versions: training.versions,
      classes: file.classNames?.count ?? (file.labels.max() ?? 0) + 1, batch: settings.batch,
      seed: settings.seed)
    return TrainingData(
      batches, validation: heldOut?.batches(of: settings.batch) ?? [], classNames: file.classNames)
  }
}
