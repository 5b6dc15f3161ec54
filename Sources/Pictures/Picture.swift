/// A colour of three bytes, as it stands in a picture.
public struct RGB: Sendable, Hashable {
  /// From 0 to 255, as are the others.
  public var red: UInt8
  /// From 0 to 255.
  public var green: UInt8
  /// From 0 to 255.
  public var blue: UInt8

  /// A colour from its parts.
  public init(_ red: UInt8, _ green: UInt8, _ blue: UInt8) {
    self.red = red
    self.green = green
    self.blue = blue
  }

  /// No light.
  public static let black = RGB(0, 0, 0)
  /// All light.
  public static let white = RGB(255, 255, 255)
  /// The grey in the middle, which is zero (to half a step) when bytes become [-1, 1].
  public static let neutral = RGB(128, 128, 128)
}

/// A picture in memory: red, green and blue, one byte each.
///
/// `pixels` holds `height` rows of `width` pixels of three bytes, top row first: [H, W, 3].
public struct Picture: Sendable, Hashable {
  /// Pixels in a row, at least 1.
  public let width: Int
  /// Rows, at least 1.
  public let height: Int
  /// [height, width, 3], row-major.
  public let pixels: [UInt8]

  /// A picture from its bytes.
  ///
  /// Traps unless both sides are at least 1 and `pixels` has `width * height * 3` bytes.
  public init(width: Int, height: Int, pixels: [UInt8]) {
    precondition(width >= 1 && height >= 1, "a picture of \(width)x\(height) has no pixels")
    precondition(
      pixels.count == width * height * 3,
      "\(width)x\(height) RGB needs \(width * height * 3) bytes, given \(pixels.count)")
    self.width = width
    self.height = height
    self.pixels = pixels
  }

  /// A picture of one colour.
  public init(width: Int, height: Int, filledWith color: RGB) {
    self.init(width: width, height: height) { out in
      for pixel in 0..<width * height {
        out[3 * pixel] = color.red
        out[3 * pixel + 1] = color.green
        out[3 * pixel + 2] = color.blue
      }
    }
  }

  /// A picture whose bytes `fill` writes, every one of them.
  package init(width: Int, height: Int, fill: (UnsafeMutablePointer<UInt8>) -> Void) {
    precondition(width >= 1 && height >= 1, "a picture of \(width)x\(height) has no pixels")
    let count = width * height * 3
    let pixels = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
      fill(buffer.baseAddress!)
      filled = count
    }
    self.init(width: width, height: height, pixels: pixels)
  }

  /// The colour in column `x` (from the left) of row `y` (from the top).
  ///
  /// Traps outside the picture.
  public subscript(x: Int, y: Int) -> RGB {
    precondition(
      x >= 0 && x < width && y >= 0 && y < height,
      "(\(x), \(y)) is outside a picture of \(width)x\(height)")
    let first = (y * width + x) * 3
    return RGB(pixels[first], pixels[first + 1], pixels[first + 2])
  }

  /// The rectangle of `width` by `height` pixels whose top left pixel is (`x`, `y`).
  ///
  /// Traps where it does not lie inside the picture.
  public func cropped(x: Int, y: Int, width: Int, height: Int) -> Picture {
    precondition(
      x >= 0 && y >= 0 && width >= 1 && height >= 1
        && x <= self.width - width && y <= self.height - height,
      "\(width)x\(height) at (\(x), \(y)) is not inside a picture of \(self.width)x\(self.height)")
    if width == self.width && height == self.height { return self }
    return pixels.withUnsafeBufferPointer { source in
      Picture(width: width, height: height) { out in
        for row in 0..<height {
          let first = source.baseAddress! + ((y + row) * self.width + x) * 3
          (out + row * width * 3).update(from: first, count: width * 3)
        }
      }
    }
  }

  /// `self` over a background of `width` by `height`, with the top left pixel at (`x`, `y`).
  func placed(x: Int, y: Int, width: Int, height: Int, background: RGB) -> Picture {
    var canvas = Canvas(width: width, height: height, background: background)
    canvas.draw(self, x: x, y: y)
    return canvas.picture
  }
}

/// A picture under construction.
struct Canvas {
  let width: Int
  let height: Int
  private var pixels: [UInt8]

  init(width: Int, height: Int, background: RGB) {
    self.width = width
    self.height = height
    pixels = Picture(width: width, height: height, filledWith: background).pixels
  }

  /// Copies all of `picture`, which must fit, to where its top left pixel is (`x`, `y`).
  mutating func draw(_ picture: Picture, x: Int, y: Int) {
    precondition(x >= 0 && y >= 0 && x + picture.width <= width && y + picture.height <= height)
    let stride = picture.width * 3
    for row in 0..<picture.height {
      let first = ((y + row) * width + x) * 3
      pixels.replaceSubrange(
        first..<first + stride, with: picture.pixels[row * stride..<(row + 1) * stride])
    }
  }

  var picture: Picture { Picture(width: width, height: height, pixels: pixels) }
}
