/// How pictures of one size are laid out side by side.
public struct PictureGrid: Sendable, Equatable {
  /// Pictures in a row; nil for the square root of their number, rounded up.
  public var columns: Int?
  /// Pixels between neighbours. There are none around the outside.
  public var gap: Int
  /// What shows in the gaps and in the places that the last row leaves empty.
  public var background: RGB

  /// A layout of nearly as many rows as columns, 2 pixels apart on white, unless told otherwise.
  public init(columns: Int? = nil, gap: Int = 2, background: RGB = .white) {
    self.columns = columns
    self.gap = gap
    self.background = background
  }

  /// One picture with all of `pictures`, row by row from the top left.
  ///
  /// N pictures of `w` by `h` in `c` columns and `r` rows give `c * (w + gap) - gap` by
  /// `r * (h + gap) - gap` pixels.
  ///
  /// - Throws: ``PictureError`` of kind `invalidArgument` where there are no pictures, their sizes
  ///   differ, `columns` is below 1 or `gap` below 0.
  public func tiled(_ pictures: [Picture]) throws(PictureError) -> Picture {
    func mistake(_ problem: String, mend: String) -> PictureError {
      PictureError(.invalidArgument, "the grid", problem, mend: mend)
    }
    guard let first = pictures.first else {
      throw mistake("has no pictures", mend: "give at least one")
    }
    if let columns, columns < 1 {
      throw mistake("has \(columns) columns", mend: "give at least one")
    }
    if gap < 0 {
      throw mistake("has a gap of \(gap) pixels", mend: "give zero or more")
    }
    for (index, picture) in pictures.enumerated()
    where picture.width != first.width || picture.height != first.height {
      throw mistake(
        "has pictures of different sizes (number 1 is \(first.width)x\(first.height), "
          + "number \(index + 1) is \(picture.width)x\(picture.height))",
        mend: "resize them to one size first")
    }
    let squareRoot = Int(Double(pictures.count).squareRoot().rounded(.up))
    let columns = min(columns ?? squareRoot, pictures.count)
    let rows = (pictures.count + columns - 1) / columns
    var canvas = Canvas(
      width: columns * (first.width + gap) - gap, height: rows * (first.height + gap) - gap,
      background: background)
    for (index, picture) in pictures.enumerated() {
      let (row, column) = index.quotientAndRemainder(dividingBy: columns)
      canvas.draw(picture, x: column * (first.width + gap), y: row * (first.height + gap))
    }
    return canvas.picture
  }
}
