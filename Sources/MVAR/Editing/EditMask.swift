import Pictures

/// Which part of a picture is drawn anew, pixel by pixel.
public struct EditMask: Sendable, Hashable {
  public let width: Int
  public let height: Int
  /// `[height, width]`: 255 for pixels that are drawn, 0 for those that stay, and shares between.
  public let coverage: [UInt8]

  /// Traps unless there are `width · height` values, at least one.
  public init(width: Int, height: Int, coverage: [UInt8]) {
    precondition(width > 0 && height > 0 && coverage.count == width * height)
    (self.width, self.height, self.coverage) = (width, height, coverage)
  }

  private init(width: Int, height: Int, filledWith value: UInt8) {
    self.init(
      width: width, height: height, coverage: Array(repeating: value, count: width * height))
  }

  /// All of a picture.
  public static func everything(width: Int, height: Int) -> EditMask {
    EditMask(width: width, height: height, filledWith: 255)
  }

  /// Nothing of it.
  public static func nothing(width: Int, height: Int) -> EditMask {
    EditMask(width: width, height: height, filledWith: 0)
  }

  /// A drawn mask: white is drawn anew, black stays (by the brightness of Rec. 601).
  public init(_ picture: Picture) {
    self.init(
      width: picture.width, height: picture.height,
      coverage: (0..<picture.width * picture.height).map { pixel in
        let (r, g, b) = (
          Int(picture.pixels[3 * pixel]), Int(picture.pixels[3 * pixel + 1]),
          Int(picture.pixels[3 * pixel + 2])
        )
        return UInt8((299 * r + 587 * g + 114 * b + 500) / 1000)
      })
  }

  /// What lies inside a box.
  ///
  /// - Throws: ``MVARError`` for a box that does not lie in the picture.
  public init(width: Int, height: Int, box: PixelBox) throws(MVARError) {
    guard box.left >= 0, box.top >= 0, box.left < box.right, box.top < box.bottom,
      box.right <= width, box.bottom <= height
    else {
      throw MVARError.invalidValue(
        "box", "\(box)",
        mend: "name left,top,right,bottom inside the picture's \(width) × \(height) pixels, "
          + "left below right and top below bottom")
    }
    var coverage = [UInt8](repeating: 0, count: width * height)
    for y in box.top..<box.bottom {
      for x in box.left..<box.right { coverage[y * width + x] = 255 }
    }
    self.init(width: width, height: height, coverage: coverage)
  }

  /// What is drawn stays, and what stays is drawn.
  public var inverted: EditMask {
    EditMask(width: width, height: height, coverage: coverage.map { 255 - $0 })
  }

  /// Whether nothing is drawn.
  public var isEmpty: Bool { coverage.allSatisfy { $0 == 0 } }

  /// How much of a pixel is drawn, 0 to 255.
  subscript(x: Int, y: Int) -> UInt8 { coverage[y * width + x] }
}

/// A rectangle of whole pixels: columns `left ..< right`, rows `top ..< bottom`.
public struct PixelBox: Sendable, Hashable, Codable, CustomStringConvertible {
  public var left: Int
  public var top: Int
  public var right: Int
  public var bottom: Int

  public init(left: Int, top: Int, right: Int, bottom: Int) {
    (self.left, self.top, self.right, self.bottom) = (left, top, right, bottom)
  }

  public var description: String { "\(left),\(top),\(right),\(bottom)" }
}
