import ClassNames
import MVAR
import Pictures

/// What a request for pictures asks for, apart from what it draws them from.
struct ImageParameters: Sendable {
  enum Delivery: String, CaseIterable, Sendable {
    case base64 = "b64_json"
    case url
  }

  enum Format: String, CaseIterable, Sendable {
    case png, jpeg, webp

    /// Pixels of a side that its files can have.
    private var longestSide: Int {
      switch self {
      case .png: Int(Int32.max)
      case .jpeg: 65_500
      case .webp: 16_383
      }
    }

    /// - Throws: ``APIError`` for a size that its files cannot have, before anything is drawn for it.
    func check(_ size: (width: Int, height: Int)) throws(APIError) {
      guard max(size.width, size.height) > longestSide else { return }
      throw .invalid(
        "output_format",
        "output_format is \(rawValue), which allows \(longestSide) pixels a side, and the picture has "
          + "\(size.width)x\(size.height); use png")
    }
  }

  /// Nil for no class in particular, which only edits may ask for.
  let label: Int?
  let className: String?
  /// One a picture.
  let seeds: [UInt64]
  let settings: SamplingSettings
  let delivery: Delivery
  let format: Format
  let compression: Int?
  let streams: Bool
  /// How many previews of each picture.
  let previews: Int
  let user: String?
  let timeout: Duration?

  static let names: Set<String> = [
    "class", "guidance", "model", "n", "output_compression", "output_format", "partial_images",
    "prompt", "response_format", "seed", "size", "smooth", "stream", "timeout", "top_k", "top_p",
    "user",
  ]

  /// What such APIs have for other models.
  static let ignored: Set<String> = [
    "background", "input_fidelity", "moderation", "quality", "style",
  ]

  static let defaults = SamplingSettings()

  /// - Throws: ``APIError`` for values that make no sense, `MVARError` for settings out of range.
  init(
    _ fields: inout RequestFields, _ facts: EngineFacts, _ labels: ClassLabels, maxCount: Int,
    needsClass: Bool = true
  ) throws {
    if let model = try fields.text("model", limit: 200), model != facts.name {
      throw APIError(
        status: .notFound, kind: .notFound,
        message:
          "model is \(quoted(model)); this server has \(quoted(facts.name)), or leave it out",
        parameter: "model", code: "model_not_found")
    }
    if let size = try fields.text("size", limit: 40), size != "auto", size != facts.size {
      throw APIError.invalid(
        "size", "size is \(quoted(size)); this model makes \(facts.size)")
    }
    let first = try fields.seed("seed") ?? UInt64(UInt32.random(in: 0...UInt32.max))
    (label, className) = try Self.classOf(&fields, labels, seed: first, isNeeded: needsClass)
    let count = try fields.integer("n", in: 1...maxCount) ?? 1
    seeds = (0..<count).map { first &+ UInt64($0) }
    settings = try Self.settings(&fields)
    delivery = try fields.choice("response_format", Delivery.self) ?? .base64
    format = try fields.choice("output_format", Format.self) ?? .png
    compression = try fields.integer("output_compression", in: 0...100)
    streams = try fields.flag("stream") ?? false
    let scales = facts.scales.count
    previews = try fields.integer("partial_images", in: 0...scales) ?? scales
    user = try fields.text("user", limit: 256)
    timeout = try fields.number("timeout", in: 0.001...86_400).map { .seconds($0) }
  }

  /// From `class`, or else from `prompt`, which other APIs' clients always send.
  private static func classOf(
    _ fields: inout RequestFields, _ labels: ClassLabels, seed: UInt64, isNeeded: Bool
  ) throws -> (Int?, String?) {
    let prompt = try fields.text("prompt", limit: 1000)
    let given = try fields.classText("class", limit: 1000)
    let name = given == nil ? "prompt" : "class"
    guard let text = given ?? prompt else {
      guard isNeeded else { return (nil, nil) }
      throw APIError.invalid(
        "class",
        "class is missing; give a class's number or name, such as "
          + (labels.hasNames ? #""golden retriever""# : "0"), code: "missing_parameter")
    }
    let named = labels.classes(named: text)
    if named.count == 1 { return (named[0], labels.name(of: named[0])) }
    do {
      let found = try ClassSelection.parse(text, labels: labels, seed: seed)
      guard found.count == 1 else {
        throw APIError.invalid(
          name, "\(name) is \(quoted(text)), which names \(found.count) classes; name one")
      }
      return (found[0], labels.name(of: found[0]))
    } catch let error as ClassSelectionError {
      throw APIError.invalid(name, error.description, code: "unknown_class")
    }
  }

  private static func settings(_ fields: inout RequestFields) throws -> SamplingSettings {
    var settings = defaults
    if let guidance = try fields.number("guidance", in: 0...100) { settings.guidance = guidance }
    if let topK = try fields.integer("top_k", in: 0...1_000_000) { settings.topK = topK }
    if let topP = try fields.number("top_p", in: 0...1) { settings.topP = topP }
    if let smooth = try fields.flag("smooth") { settings.smooth = smooth }
    do { try settings.validate() } catch {
      throw APIError.invalid("top_p", error.description)
    }
    return settings
  }

  /// Whether the picture after a scale is sent: so many, evenly, the last of all not among them.
  func shows(scale: Int, of count: Int) -> Bool {
    let steps = max(count - 1, 1)
    let wanted = min(previews, steps)
    return scale < count - 1 && (scale + 1) * wanted / steps > scale * wanted / steps
  }

  /// What a picture's file says about itself; nothing in it depends on other requests.
  func texts(_ index: Int, _ facts: EngineFacts, software: String) -> PictureMetadata {
    var texts: PictureMetadata = ["Software": software]
    func add(_ key: String, _ value: String) { texts.entries.append(.init(key: key, value: value)) }
    if let label { add("Class", "\(label)") }
    if let className { add("Class name", className) }
    add("Seed", "\(seeds[index])")
    add("Guidance", "\(settings.guidance)")
    add("Top-k", "\(settings.topK)")
    add("Top-p", "\(settings.topP)")
    add("Smooth", "\(settings.smooth)")
    add("Dtype", facts.dtype)
    add("Model", facts.name)
    return texts
  }

  /// A finished picture as a file.
  func file(_ picture: Picture, _ texts: PictureMetadata) throws(PictureError) -> [UInt8] {
    let format: PictureFormat =
      switch format {
      case .png: .png
      case .jpeg: .jpeg(quality: max(compression ?? 90, 1))
      case .webp: .webp(quality: compression ?? 90)
      }
    return try picture.encoded(as: format, metadata: format.carriesMetadata ? texts : [:])
  }
}
