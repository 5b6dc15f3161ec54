import Pictures

extension Picture {
  /// The picture with margins that mirror it, as often as they are wide.
  func mirrored(_ margins: EditCanvas.Margins) -> Picture {
    if margins.isEmpty { return self }
    let columns = (-margins.left..<width + margins.right).map { reflected($0, within: width) }
    let rows = (-margins.top..<height + margins.bottom).map { reflected($0, within: height) }
    var out: [UInt8] = []
    out.reserveCapacity(columns.count * rows.count * 3)
    for y in rows {
      for x in columns {
        let first = (y * width + x) * 3
        out.append(contentsOf: pixels[first..<first + 3])
      }
    }
    return Picture(width: columns.count, height: rows.count, pixels: out)
  }
}

/// The place that a mirror at both ends of `0 ..< count` shows at `index`.
private func reflected(_ index: Int, within count: Int) -> Int {
  let period = 2 * count
  let place = (index % period + period) % period
  return place < count ? place : period - 1 - place
}

extension EditMask {
  /// The mask with margins of one value.
  func surrounded(_ margins: EditCanvas.Margins, with value: UInt8) -> EditMask {
    if margins.isEmpty { return self }
    let newWidth = margins.left + width + margins.right
    func rows(_ count: Int) -> [UInt8] { Array(repeating: value, count: count * newWidth) }
    let left = Array(repeating: value, count: margins.left)
    let right = Array(repeating: value, count: margins.right)
    let middle = (0..<height).flatMap { y in
      left + coverage[y * width..<(y + 1) * width] + right
    }
    return EditMask(
      width: newWidth, height: margins.top + height + margins.bottom,
      coverage: rows(margins.top) + middle + rows(margins.bottom))
  }

  /// The rectangle of `newWidth` by `newHeight` pixels that begins at (`x`, `y`).
  func cropped(x: Int, y: Int, width newWidth: Int, height newHeight: Int) -> EditMask {
    if (newWidth, newHeight) == (width, height) { return self }
    return EditMask(
      width: newWidth, height: newHeight,
      coverage: (y..<y + newHeight).flatMap { row in
        coverage[row * width + x..<row * width + x + newWidth]
      })
  }
}
