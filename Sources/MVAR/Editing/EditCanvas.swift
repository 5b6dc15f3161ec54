import Pictures

/// Where a picture of any size, perhaps with margins around it, lies on what a model draws, and how the
/// result finds its way back.
///
/// The canvas is the picture with its margins. It is resized to the model's size as ``PictureFit`` says:
/// `pad` shows the model all of it, lets it draw what the canvas leaves free at two sides, and cuts that
/// away again; `crop` shows it the largest part in the middle that has the model's proportions;
/// `stretch` changes the proportions.
public struct EditCanvas: Sendable {
  /// Free space around a picture, in its pixels.
  public struct Margins: Sendable, Hashable, Codable {
    public var left: Int
    public var top: Int
    public var right: Int
    public var bottom: Int

    public init(left: Int = 0, top: Int = 0, right: Int = 0, bottom: Int = 0) {
      (self.left, self.top, self.right, self.bottom) = (left, top, right, bottom)
    }

    var isEmpty: Bool { self == Margins() }
  }

  public let picture: Picture
  public let margins: Margins
  public let fit: PictureFit
  /// What the model draws, in pixels.
  public let modelSize: (width: Int, height: Int)
  /// The canvas at the scale that the model sees it.
  public let scaledSize: (width: Int, height: Int)
  /// Where the model's view begins in the scaled canvas; negative where it begins outside.
  private let view: (x: Int, y: Int)

  /// - Parameter modelSize: ``ImageGenerator/pictureSize``
  /// - Throws: ``MVARError`` for margins below 0, or a canvas above `limit` pixels.
  public init(
    _ picture: Picture, margins: Margins = .init(), modelSize: (width: Int, height: Int),
    fit: PictureFit = .pad, limit: Int = PictureLimits().pixels
  ) throws(MVARError) {
    for (name, value) in [
      ("left", margins.left), ("top", margins.top), ("right", margins.right),
      ("bottom", margins.bottom),
    ] where value < 0 || value > limit {
      throw .invalidValue(name, "\(value)", mend: "use a margin of 0 to \(limit) pixels")
    }
    let canvas = (
      width: picture.width + margins.left + margins.right,
      height: picture.height + margins.top + margins.bottom
    )
    let (pixels, overflow) = canvas.width.multipliedReportingOverflow(by: canvas.height)
    guard !overflow, pixels <= limit else {
      throw .invalidValue(
        "canvas", "\(canvas.width) × \(canvas.height)",
        mend: "shrink the picture or its margins to \(limit) pixels together")
    }
    (self.picture, self.margins, self.fit) = (picture, margins, fit)
    self.modelSize = modelSize
    scaledSize = Self.scaled(canvas, to: modelSize, fit)
    // Towards zero on both sides of it, as `Picture.fitted` pads.
    view = (
      (scaledSize.width - modelSize.width) / 2, (scaledSize.height - modelSize.height) / 2
    )
  }

  private static func scaled(
    _ canvas: (width: Int, height: Int), to size: (width: Int, height: Int), _ fit: PictureFit
  ) -> (width: Int, height: Int) {
    let (across, down) = (
      Double(size.width) / Double(canvas.width), Double(size.height) / Double(canvas.height)
    )
    func rounded(_ scale: Double) -> (width: Int, height: Int) {
      (
        max(Int((Double(canvas.width) * scale).rounded()), 1),
        max(Int((Double(canvas.height) * scale).rounded()), 1)
      )
    }
    switch fit {
    case .stretch: return size
    case .pad:
      let inside = rounded(min(across, down))
      return (min(inside.width, size.width), min(inside.height, size.height))
    case .crop:
      let outside = rounded(max(across, down))
      return (max(outside.width, size.width), max(outside.height, size.height))
    }
  }

  /// The canvas in the picture's pixels.
  public var canvasSize: (width: Int, height: Int) {
    (
      picture.width + margins.left + margins.right, picture.height + margins.top + margins.bottom
    )
  }

  /// Whether the model sees the canvas pixel for pixel.
  public var isExact: Bool { canvasSize == scaledSize }

  // MARK: To the model

  /// What the model sees. Margins show the picture mirrored, so that the coarse tokens, which they
  /// share with it, have its colours; then they are drawn over.
  public var fitted: Picture {
    viewed(whole.resized(width: scaledSize.width, height: scaledSize.height)) { picture, margins in
      picture.mirrored(margins)
    }
  }

  /// The canvas, its margins mirrored.
  private var whole: Picture { picture.mirrored(margins) }

  /// The mask as the model sees it: `mask` inside the picture, and all of the rest.
  ///
  /// - Parameters:
  ///   - mask: Of the picture's size; nil for nothing inside it.
  ///   - schedule: The model's.
  /// - Throws: ``MVARError`` for a mask of another size, and for one that draws nothing: empty, outside
  ///   what `crop` leaves, or too small to reach a single token.
  public func fitted(_ mask: EditMask?, edges: MaskEdges = .half, schedule: ScaleSchedule)
    throws(MVARError) -> EditMask
  {
    try edges.validate()
    if let mask, (mask.width, mask.height) != (picture.width, picture.height) {
      throw MVARError(
        .mismatch,
        "the mask has \(mask.width) × \(mask.height) pixels and the picture \(picture.width) × "
          + "\(picture.height); draw the mask at the picture's size")
    }
    let whole = wholeMask(mask)
    guard !whole.isEmpty else {
      throw MVARError(
        .invalidValue, "the mask is empty (all black); paint white what is to be drawn anew")
    }
    let scaled = whole.resized(width: scaledSize.width, height: scaledSize.height)
    let asked = viewed(scaled) { $0.surrounded($1, with: 0) }
    let tokens = (try? asked.checkReach(schedule, edges, size: modelSize)) != nil
    guard tokens else {
      if asked.isEmpty, fit == .crop {
        throw MVARError(
          .invalidValue,
          "the mask lies in what fit crop cuts away; use pad, which shows the model all of the picture"
        )
      }
      try asked.checkReach(schedule, edges, size: modelSize)
      return asked
    }
    return viewed(scaled) { $0.surrounded($1, with: 255) }
  }

  /// The mask of the whole canvas, margins included.
  private func wholeMask(_ mask: EditMask?) -> EditMask {
    (mask ?? .nothing(width: picture.width, height: picture.height))
      .surrounded(margins, with: 255)
  }

  /// What the model sees of the scaled canvas.
  private func viewed<Plane: Croppable>(_ scaled: Plane, _ extend: (Plane, Margins) -> Plane)
    -> Plane
  {
    let (x, y) = (max(view.x, 0), max(view.y, 0))
    let part = scaled.cropped(
      x: x, y: y, width: min(scaledSize.width, modelSize.width),
      height: min(scaledSize.height, modelSize.height))
    let (left, top) = (max(-view.x, 0), max(-view.y, 0))
    return extend(
      part,
      Margins(
        left: left, top: top, right: modelSize.width - part.width - left,
        bottom: modelSize.height - part.height - top))
  }

  // MARK: And back

  /// The canvas as the model drew it, at the model's scale, without what it drew beyond.
  public func finished(_ drawn: Picture) -> Picture {
    drawn.cropped(
      x: max(-view.x, 0), y: max(-view.y, 0), width: min(scaledSize.width, modelSize.width),
      height: min(scaledSize.height, modelSize.height))
  }

  /// The canvas at its own size, with the original's pixels wherever the mask leaves them.
  ///
  /// What was drawn is resized to the canvas. Inside the mask it stands alone; outside, it fades into
  /// the original over `feather` pixels, and beyond these the bytes are the original's.
  ///
  /// - Parameters:
  ///   - mask: As it was given to ``fitted(_:edges:schedule:)``.
  ///   - feather: The width of the seam, in the picture's pixels.
  public func finished(_ drawn: Picture, keepingPixelsOutside mask: EditMask?, feather: Int = 8)
    -> Picture
  {
    let part = finished(drawn)
    let (across, down) = (
      Double(canvasSize.width) / Double(scaledSize.width),
      Double(canvasSize.height) / Double(scaledSize.height)
    )
    func place(_ start: Int, _ length: Int, _ scale: Double) -> Range<Int> {
      let first = Int((Double(max(start, 0)) * scale).rounded())
      return first..<first + max(Int((Double(length) * scale).rounded(.down)), 1)
    }
    let columns = place(view.x, part.width, across)
    let rows = place(view.y, part.height, down)
    return whole.blended(
      with: part.resized(width: columns.count, height: rows.count), x: columns.lowerBound,
      y: rows.lowerBound, shares: wholeMask(mask).feathered(feather))
  }
}

/// A plane of pixels that can be cut.
private protocol Croppable {
  var width: Int { get }
  var height: Int { get }
  func cropped(x: Int, y: Int, width: Int, height: Int) -> Self
}

extension Picture: Croppable {}
extension EditMask: Croppable {}
