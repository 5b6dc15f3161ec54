import MVAR
import Pictures
import Torch

/// What the pictures of a run have in common.
struct PictureOrigin {
  let settings: SamplingSettings
  let files: ModelFiles
  /// Computed only where a record wants them.
  let digests: Digests?
  let dtype: DType
  let device: Device

  /// What a picture's file says about itself; nothing in it depends on the rest of the run.
  func texts(_ job: SampleJob) -> PictureMetadata {
    texts(label: job.label, name: job.name, seed: job.seed)
  }

  /// - Parameters:
  ///   - label: Nil for no class in particular.
  ///   - seed: Nil where there is none alone.
  ///   - edit: What was done to a picture, if it was not made from nothing.
  func texts(
    label: Int?, name: String?, seed: UInt64?, edit: EditDescription? = nil
  ) -> PictureMetadata {
    var texts: PictureMetadata = ["Software": "mvar \(version)"]
    func add(_ key: String, _ value: String) { texts.entries.append(.init(key: key, value: value)) }
    for (key, value) in edit?.texts ?? [] { add(key, value) }
    if let label { add("Class", "\(label)") }
    if let name { add("Class name", name) }
    if let seed { add("Seed", "\(seed)") }
    add("Guidance", "\(settings.guidance)")
    add("Top-k", "\(settings.topK)")
    add("Top-p", "\(settings.topP)")
    add("Smooth", "\(settings.smooth)")
    add("Dtype", dtype.description)
    add("Model", Files.name(of: files.model))
    add("Tokenizer", Files.name(of: files.tokenizer))
    return texts
  }
}

/// The digests of a run's checkpoints.
struct Digests {
  let model: String
  let tokenizer: String

  /// Reads both files whole.
  init(_ files: ModelFiles) throws {
    model = try Checkpoint.digest(files.model)
    try Task.checkCancellation()
    tokenizer =
      files.tokenizer == files.model ? model : try Checkpoint.digest(files.tokenizer)
  }
}

/// The record of one picture.
struct PictureRecord: Encodable {
  struct Source: Encodable {
    let file: String
    let sha256: String?
  }

  let index: Int
  let file: String
  let `class`: Int
  let className: String?
  let seed: UInt64
  let width: Int
  let height: Int
  let settings: SamplingSettings
  let dtype: String
  let device: String
  let model: Source
  let tokenizer: Source
  /// The batch's time over its pictures.
  let seconds: Double
  let software: String

  init(_ job: SampleJob, file: String, picture: Picture, origin: PictureOrigin, seconds: Double) {
    (index, self.file, self.class) = (job.index, file, job.label)
    (className, seed) = (job.name, job.seed)
    (width, height) = (picture.width, picture.height)
    (settings, self.seconds) = (origin.settings, seconds)
    (dtype, device) = (origin.dtype.description, origin.device.description)
    model = Source(file: origin.files.model, sha256: origin.digests?.model)
    tokenizer = Source(file: origin.files.tokenizer, sha256: origin.digests?.tokenizer)
    software = "mvar \(version)"
  }
}
