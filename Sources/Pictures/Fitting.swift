/// How a picture of any proportions becomes one of a given size.
public enum PictureFit: String, Sendable, CaseIterable {
  /// Shrinks the picture until it just covers 9/8 of the size and keeps the middle: what the
  /// published checkpoints were trained on.
  case crop
  /// Keeps the whole picture and fills the rest with a colour.
  case pad
  /// Scales both sides on their own.
  case stretch
}

extension Picture {
  /// The picture as a square of `side` by `side` pixels, as with a `size`.
  ///
  /// Traps unless `side` is at least 1.
  public func fitted(
    to side: Int, fit: PictureFit = .crop, background: RGB = .neutral
  ) -> Picture {
    fitted(to: (side, side), fit: fit, background: background)
  }

  /// The picture with `size` in pixels.
  ///
  /// A picture that has this size already is returned pixel for pixel.
  ///
  /// - `crop` is, for a square of side r, what torchvision's `Resize(round(1.125 * r), LANCZOS)` and
  ///   `CenterCrop(r)` give, to the bit. Other proportions follow: the picture covers
  ///   round(1.125 * width) by round(1.125 * height), touching it in one direction.
  /// - `pad` makes the picture as large as fits and centres it on `background`; where the margins
  ///   differ, the right and the lower one are a pixel wider.
  /// - `stretch` scales each side to its own length.
  ///
  /// Traps unless both sides are at least 1 and at most 2²⁴.
  public func fitted(
    to size: (width: Int, height: Int), fit: PictureFit = .crop, background: RGB = .neutral
  ) -> Picture {
    precondition(
      size.width >= 1 && size.height >= 1,
      "a picture of \(size.width)x\(size.height) has no pixels")
    // Nothing that is multiplied below leaves an Int.
    precondition(
      max(size.width, size.height) <= 1 << 24,
      "a picture of \(size.width)x\(size.height) is too large")
    if (width, height) == size { return self }
    return switch fit {
    case .crop: middle(of: size)
    case .pad: padded(to: size, with: background)
    case .stretch: resized(width: size.width, height: size.height)
    }
  }

  private func middle(of size: (width: Int, height: Int)) -> Picture {
    // Python rounds halves to even, and cuts the longer side down to a whole number.
    func enlarged(_ length: Int) -> Int {
      Int((1.125 * Double(length)).rounded(.toNearestOrEven))
    }
    func margin(_ length: Int, _ inner: Int) -> Int {
      Int((Double(length - inner) / 2).rounded(.toNearestOrEven))
    }
    let cover = (width: enlarged(size.width), height: enlarged(size.height))
    let scaled =
      width * cover.height <= height * cover.width
      ? (width: cover.width, height: cover.width * height / width)
      : (width: cover.height * width / height, height: cover.height)
    let (left, top) = (margin(scaled.width, size.width), margin(scaled.height, size.height))
    return resampled(
      width: scaled.width, height: scaled.height,
      columns: left..<left + size.width, rows: top..<top + size.height)
  }

  private func padded(to size: (width: Int, height: Int), with background: RGB) -> Picture {
    let scale = min(
      Double(size.width) / Double(width), Double(size.height) / Double(height))
    func scaled(_ length: Int, atMost limit: Int) -> Int {
      min(max(Int((Double(length) * scale).rounded()), 1), limit)
    }
    let whole = resized(
      width: scaled(width, atMost: size.width), height: scaled(height, atMost: size.height))
    return whole.placed(
      x: (size.width - whole.width) / 2, y: (size.height - whole.height) / 2,
      width: size.width, height: size.height, background: background)
  }
}
