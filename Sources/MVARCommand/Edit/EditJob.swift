import MVAR
import Pictures

/// One result to be drawn.
struct EditJob {
  enum Work {
    case edit(EditRequest)
    case between(InterpolationRequest)
  }

  let work: Work
  /// The beginning of its file's name.
  let stem: String
  let className: String?
  let description: EditDescription

  var label: Int? {
    switch work {
    case .edit(let request): request.label
    case .between(let request): request.label
    }
  }

  /// Whether it begins with a picture, not with a seed alone.
  var readsPicture: Bool { if case .edit = work { true } else { false } }

  /// Nil between two.
  var seed: UInt64? {
    switch work {
    case .edit(let request): request.seed
    case .between: nil
    }
  }
}

extension [EditJob] {
  /// Draws them in one batch.
  func scales(_ generator: ImageGenerator, settings: SamplingSettings, previews: Bool)
    -> AsyncThrowingStream<GeneratedScale, any Error>
  {
    let edits = compactMap { job in
      if case .edit(let request) = job.work { request } else { nil }
    }
    let between = compactMap { job in
      if case .between(let request) = job.work { request } else { nil }
    }
    return between.isEmpty
      ? generator.edits(edits, settings: settings, previews: previews)
      : generator.interpolations(between, settings: settings, previews: previews)
  }
}

/// What was done to a picture: for its record, and for its own texts.
struct EditDescription: Encodable {
  /// The subcommand.
  let kind: String
  var image: String?
  var mask: String?
  var box: PixelBox?
  var margins: EditCanvas.Margins?
  var fit: String?
  var edges: String?
  var threshold: Double?
  var strength: Double?
  var keptScales: Int?
  var feather: Int?
  var from: UInt64?
  var to: UInt64?
  var position: Double?

  init(_ kind: String) { self.kind = kind }

  mutating func add(_ flags: EditedImageFlags) {
    (image, fit) = (flags.image, flags.fit.rawValue)
  }

  mutating func add(_ flags: EdgeFlags) {
    edges = flags.edges.rawValue
    threshold = flags.edges == .hard ? flags.threshold : nil
  }

  mutating func add(_ flags: KeepingFlags) { feather = flags.keepPixels ? flags.feather : nil }

  /// What a picture's file says about the edit.
  var texts: [(key: String, value: String)] {
    var texts = [("Edit", kind)]
    func add(_ key: String, _ value: String?) { if let value { texts.append((key, value)) } }
    add("Image", image.map(Files.name))
    add("Mask", mask.map(Files.name))
    add("Box", box.map { "\($0)" })
    add("Margins", margins.map { "\($0.left),\($0.top),\($0.right),\($0.bottom)" })
    add("Fit", fit)
    add("Edges", edges)
    add("Threshold", threshold.map { "\($0)" })
    add("Strength", strength.map { "\($0)" })
    add("Kept scales", keptScales.map { "\($0)" })
    add("Kept pixels, feather", feather.map { "\($0)" })
    add("From seed", from.map { "\($0)" })
    add("To seed", to.map { "\($0)" })
    add("Position", position.map { "\($0)" })
    return texts
  }
}

/// The record of one result.
struct EditRecord: Encodable {
  let index: Int
  let file: String
  let edit: EditDescription
  let `class`: Int?
  let className: String?
  let seed: UInt64?
  let width: Int
  let height: Int
  let settings: SamplingSettings
  let dtype: String
  let device: String
  let model: PictureRecord.Source
  let tokenizer: PictureRecord.Source
  /// The batch's time over its results.
  let seconds: Double
  let software: String

  init(
    _ job: EditJob, index: Int, file: String, picture: Picture, origin: PictureOrigin,
    seconds: Double
  ) {
    (self.index, self.file, edit) = (index, file, job.description)
    (self.class, className, seed) = (job.label, job.className, job.seed)
    (width, height) = (picture.width, picture.height)
    (settings, self.seconds) = (origin.settings, seconds)
    (dtype, device) = (origin.dtype.description, origin.device.description)
    model = .init(file: origin.files.model, sha256: origin.digests?.model)
    tokenizer = .init(file: origin.files.tokenizer, sha256: origin.digests?.tokenizer)
    software = "mvar \(version)"
  }
}
