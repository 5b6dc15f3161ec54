import Pictures

/// How a picture of any size becomes a square to learn from.
public struct PictureRecipe: Sendable, Hashable, Codable {
  /// Which part of a picture is kept.
  public enum Framing: String, Sendable, Hashable, Codable, CaseIterable {
    /// The shorter side becomes round(1.125 · side) by Lanczos resampling, and a square is cut out at
    /// random: what the published models were trained with.
    case crop
    /// All of it, centred on its background: for artwork.
    case whole
  }

  /// What transparent artwork is laid over.
  public enum Background: Sendable, Hashable, Codable {
    case white
    /// A pale colour of its own for this share of the pictures, white for the others.
    case pastel(share: Double)
  }

  /// Pixels along each side of the square.
  public var side: Int
  public var framing = Framing.crop
  /// Whether the cut lies at random; else in the middle.
  public var cropsAtRandom = true
  /// Whether half of the pictures are mirrored.
  public var flips = true
  /// Classes that are never mirrored: flags, text.
  public var unflippedClasses: Set<String> = []
  public var background = Background.white
  /// Turned by up to so many degrees either way.
  public var rotation = 0.0
  /// Enlarged or shrunk by up to this fraction.
  public var scaling = 0.0
  /// Moved by up to this fraction of the side.
  public var translation = 0.0
  /// Hues turned by up to so many degrees either way.
  public var hue = 0.0

  /// - Parameter side: At least 1.
  public init(side: Int) { self.side = side }

  /// Nothing left to chance: what is measured on.
  public static func evaluation(side: Int, framing: Framing = .crop) -> PictureRecipe {
    var recipe = PictureRecipe(side: side)
    recipe.framing = framing
    recipe.cropsAtRandom = false
    recipe.flips = false
    return recipe
  }

  /// The same framing and background, with nothing left to chance.
  public var withoutChance: PictureRecipe { .evaluation(side: side, framing: framing) }

  /// - Throws: ``TrainingError`` naming the value that makes no sense.
  public func validate() throws(TrainingError) {
    func check(_ name: String, _ value: Double, _ range: ClosedRange<Double>) throws(TrainingError)
    {
      guard range.contains(value) else {
        throw TrainingError(
          .setting,
          "\(name) is \(value); use \(range.lowerBound) to \(range.upperBound)")
      }
    }
    try check("the side of pictures", Double(side), 1...8192)
    try check("the rotation", rotation, 0...180)
    try check("the scaling", scaling, 0...0.9)
    try check("the translation", translation, 0...1)
    try check("the turn of hues", hue, 0...180)
    if case .pastel(let share) = background { try check("the share of pastels", share, 0...1) }
  }

  /// Whether the data have the classes that are never mirrored.
  ///
  /// - Throws: ``TrainingError`` naming one that they do not have, and some that they have.
  public func checkClasses(of data: PictureDataSet) throws(TrainingError) {
    let known = Set(data.classNames)
    guard let unknown = unflippedClasses.subtracting(known).min() else { return }
    let (some, more) = (data.classNames.prefix(10), data.classNames.count - 10)
    let names = some.joined(separator: ", ") + (more > 0 ? " and \(more) more" : "")
    throw .data(
      data.path, "there is no class \(unknown), which --unflipped names",
      mend: "name some of its classes, which are \(names)")
  }

  private var warps: Bool { rotation != 0 || scaling != 0 || translation != 0 }

  /// Makes the square from a file's bytes.
  ///
  /// - Returns: The square, and whether the picture had to be enlarged for it.
  /// - Throws: `PictureError` where the bytes are no picture.
  func square(_ bytes: [UInt8], name: String, flips allowed: Bool = true, _ draws: inout Draws)
    throws(PictureError) -> (square: Picture, isEnlarged: Bool)
  {
    let background = backgroundColor(&draws)
    let picture = try Picture(data: bytes, name: name, over: background)
    // All draws are made whether used or not, so that an option changes nothing but itself.
    let (across, down, coin) = (draws.uniform(), draws.uniform(), draws.uniform())
    let change = Warp(
      degrees: draws.symmetric(rotation), scale: 1 + draws.symmetric(scaling),
      shift: (draws.symmetric(translation), draws.symmetric(translation)))
    let turn = draws.symmetric(hue)
    // A warp reads from twice the resolution, so that it softens nothing.
    let factor = warps ? 2 : 1
    var square: Picture
    let isEnlarged: Bool
    switch framing {
    case .crop:
      square = cut(picture, across: across, down: down, factor: factor)
      isEnlarged = min(picture.width, picture.height) < side
    case .whole:
      square = picture.fitted(to: factor * side, fit: .pad, background: background)
      isEnlarged = max(picture.width, picture.height) < side
    }
    if warps {
      square = change.applied(to: square, side: side, outside: framing == .whole ? background : nil)
    }
    if flips, allowed, coin < 0.5 { square = square.mirrored() }
    if hue != 0 { square = square.withHueTurned(degrees: turn) }
    return (square, isEnlarged)
  }

  private func backgroundColor(_ draws: inout Draws) -> RGB {
    let (coin, red, green, blue) = (
      draws.uniform(), draws.uniform(), draws.uniform(), draws.uniform()
    )
    guard case .pastel(let share) = background, coin < share else { return .white }
    func pale(_ value: Double) -> UInt8 { UInt8(180 + value * 75) }
    return RGB(pale(red), pale(green), pale(blue))
  }

  /// A square of `factor * side` pixels out of the picture, whose shorter side becomes
  /// `factor * round(1.125 * side)`.
  private func cut(_ picture: Picture, across: Double, down: Double, factor: Int) -> Picture {
    if !cropsAtRandom && factor == 1 { return picture.fitted(to: side) }
    // Python rounds halves to even, and cuts the longer side down to a whole number.
    let cover = Int((1.125 * Double(side)).rounded(.toNearestOrEven))
    let (width, height) = (picture.width, picture.height)
    let scaled =
      width <= height
      ? (width: cover, height: cover * height / width)
      : (width: cover * width / height, height: cover)
    func start(_ length: Int, _ share: Double) -> Int {
      let room = length - side
      let share = cropsAtRandom ? share : 0.5
      return factor * min(Int(share * Double(room + 1)), room)
    }
    let (left, top) = (start(scaled.width, across), start(scaled.height, down))
    return picture.resampled(
      width: factor * scaled.width, height: factor * scaled.height,
      columns: left..<left + factor * side, rows: top..<top + factor * side)
  }
}
