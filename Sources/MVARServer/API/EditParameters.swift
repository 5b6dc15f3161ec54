import MVAR
import Pictures

/// The picture of an edit, what of it is drawn anew, and how the result comes back to its size.
struct EditParameters: Sendable {
  private let canvas: EditCanvas
  /// Of the picture's size; nil for nothing inside it.
  private let mask: EditMask?
  private let keepsPixels: Bool
  private let keptScales: Int
  private let edges: MaskEdges
  /// As the model sees them.
  private let fitted: (picture: Picture, mask: EditMask)

  static let names: Set<String> = [
    "box", "expand", "image", "image[]", "keep_pixels", "mask", "strength", "threshold",
  ]

  /// Keeps what the picture takes while it waits.
  private let reservation: MemoryBudget.Reservation

  /// What a canvas and its mask take.
  static func bytes(_ pixels: Int) -> Int { 4 * pixels }

  /// What ``finished(_:)`` takes: the canvas, what was drawn at its size, the mask, each pixel's
  /// distance from it, and how much of what was drawn is shown there.
  var finishingBytes: Int {
    let (width, height) = canvas.canvasSize
    return keepsPixels ? (3 + 3 + 1 + 8 + 1) * width * height : 0
  }

  /// - Parameter limits: Of the picture, of the mask, and of the picture with what it is expanded by.
  /// - Throws: ``APIError``, `PictureError` or `MVARError` for what makes no sense.
  init(
    _ fields: inout RequestFields, _ facts: EngineFacts, limits: PictureLimits,
    budget: MemoryBudget
  ) throws {
    let file = try Self.picture(of: &fields)
    let picture = try Picture(data: file, name: "image", limits: limits)
    let margins = try Self.numbers(&fields, "expand").map {
      EditCanvas.Margins(left: $0[0], top: $0[1], right: $0[2], bottom: $0[3])
    }
    let strength = try fields.number("strength", in: 0...1)
    let size = (facts.width, facts.height)
    canvas = try Self.naming("expand") {
      try EditCanvas(
        picture, margins: margins ?? .init(), modelSize: size, limit: limits.pixels)
    }
    reservation = try budget.reserve(
      Self.bytes(canvas.canvasSize.width * canvas.canvasSize.height))
    let given = try Self.mask(&fields, picture, file, limits)
    guard given != nil || margins != nil || strength != nil else {
      throw APIError.invalid(
        "mask",
        "nothing says what is to be drawn anew; send a mask, a box, what to expand by, or a strength",
        code: "missing_parameter")
    }
    // A variation of the whole picture, unless a part is named.
    mask =
      given ?? (margins == nil ? .everything(width: picture.width, height: picture.height) : nil)
    keepsPixels = try fields.flag("keep_pixels") ?? true
    keptScales = try facts.schedule.keptScales(strength: strength ?? 1)
    let threshold = try fields.number("threshold", in: 0...1)
    let asked = try Self.naming("mask") { [canvas, mask] in
      try Self.fitted(mask, canvas, threshold, facts.schedule)
    }
    edges = asked.edges
    fitted = (canvas.fitted, asked.mask)
  }

  /// What the picture may be called: clients of other images APIs send lists of them as `image[]`.
  static let pictureNames: Set<String> = ["image", "image[]"]

  static let severalPictures = APIError.invalid(
    "image",
    "there are several pictures (image, image[]), and they are edited one at a time; send one",
    code: "too_many_images")

  /// The file of the only picture.
  ///
  /// - Throws: ``APIError`` where there is none, or more than one.
  static func picture(of fields: inout RequestFields) throws(APIError) -> [UInt8] {
    guard !pictureNames.isSubset(of: fields.names) else { throw severalPictures }
    guard let file = try fields.file("image", "image[]") else {
      throw .invalid(
        "image", "image is missing; send a PNG, JPEG or WebP", code: "missing_parameter")
    }
    return file
  }

  /// The mask as the model sees it: with the threshold asked for, or VAR's own half, or as much less as
  /// it takes for a small mask to reach a token at all.
  private static func fitted(
    _ mask: EditMask?, _ canvas: EditCanvas, _ threshold: Double?, _ schedule: ScaleSchedule
  ) throws(MVARError) -> (edges: MaskEdges, mask: EditMask) {
    let thresholds: [Double] = if let threshold { [threshold] } else { [0.5, 0.25, 0.1, 0.02, 0] }
    for threshold in thresholds.dropLast() {
      let edges = MaskEdges.hard(threshold: threshold)
      if let fitted = try? canvas.fitted(mask, edges: edges, schedule: schedule) {
        return (edges, fitted)
      }
    }
    let edges = MaskEdges.hard(threshold: thresholds.last!)
    return (edges, try canvas.fitted(mask, edges: edges, schedule: schedule))
  }

  /// Of `mask`, a drawn one or a transparent one; of `box`; or of what is transparent in the picture.
  private static func mask(
    _ fields: inout RequestFields, _ picture: Picture, _ file: [UInt8], _ limits: PictureLimits
  ) throws -> EditMask? {
    let drawn = try fields.file("mask")
    let box = try numbers(&fields, "box")
    if let drawn {
      guard box == nil else {
        throw APIError.invalid("box", "there is a mask and a box; send one of them")
      }
      if let mask = try Transparency(data: drawn, name: "mask", limits: limits) {
        return EditMask(width: mask.width, height: mask.height, coverage: mask.values)
      }
      return EditMask(try Picture(data: drawn, name: "mask", limits: limits))
    }
    if let box {
      return try naming("box") {
        try EditMask(
          width: picture.width, height: picture.height,
          box: PixelBox(left: box[0], top: box[1], right: box[2], bottom: box[3]))
      }
    }
    // A picture that its header turns is not where its transparency is.
    guard let holes = try Transparency(data: file, name: "image", limits: limits),
      (holes.width, holes.height) == (picture.width, picture.height)
    else { return nil }
    return EditMask(width: holes.width, height: holes.height, coverage: holes.values)
  }

  /// Four whole numbers with commas between.
  private static func numbers(_ fields: inout RequestFields, _ name: String) throws -> [Int]? {
    guard let text = try fields.text(name, limit: 100) else { return nil }
    let numbers = text.split(separator: ",", omittingEmptySubsequences: false).map {
      Int($0.filter { $0 != " " })
    }
    guard numbers.count == 4, !numbers.contains(nil) else {
      throw APIError.invalid(
        name, "\(name) is \(quoted(text)); write left,top,right,bottom in pixels")
    }
    return numbers.map { $0! }
  }

  /// Says which parameter an error is about.
  private static func naming<R>(_ parameter: String, _ body: () throws -> R) throws -> R {
    do { return try body() } catch let error as MVARError {
      throw APIError.invalid(parameter, error.description)
    }
  }

  func task(label: Int?, seed: UInt64, settings: SamplingSettings) -> PictureTask {
    .edit(
      EditRequest(
        picture: fitted.picture, mask: fitted.mask, label: label, seed: seed,
        edges: edges, keptScales: keptScales, settings: settings))
  }

  /// What the model drew, as the client gets it.
  func finished(_ drawn: Picture) -> Picture {
    keepsPixels ? canvas.finished(drawn, keepingPixelsOutside: mask) : canvas.finished(drawn)
  }

  /// What the model has drawn so far; large pictures come at the model's size.
  func preview(_ drawn: Picture) -> Picture {
    let (width, height) = canvas.canvasSize
    return width * height <= Self.largestPreview ? finished(drawn) : canvas.finished(drawn)
  }

  var finishedSize: (width: Int, height: Int) {
    keepsPixels ? canvas.canvasSize : canvas.scaledSize
  }

  /// The finished pictures', as the API writes it.
  var size: String { "\(finishedSize.width)x\(finishedSize.height)" }

  private static let largestPreview = 1 << 20
}
