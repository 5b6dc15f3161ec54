/// Averages of a mask over the cells of a grid, exact to the last digit: a mask that is full gives 1.
extension EditMask {
  /// The share of each cell that is drawn, `[rows, columns]` row by row, in [0, 1].
  ///
  /// Cells are rectangles of equal size, also where they cut through pixels.
  func shares(rows: Int, columns: Int) -> [Double] {
    sums(rows: rows, columns: columns).map { Double($0) / Double(255 * width * height) }
  }

  /// The mask of a picture that is resized.
  func resized(width newWidth: Int, height newHeight: Int) -> EditMask {
    if (width, height) == (newWidth, newHeight) { return self }
    let area = width * height
    return EditMask(
      width: newWidth, height: newHeight,
      coverage: sums(rows: newHeight, columns: newWidth).map { UInt8(($0 + area / 2) / area) })
  }

  /// For each cell, coverage times area, where a cell has the area `width · height`.
  private func sums(rows: Int, columns: Int) -> [Int] {
    let across = Overlaps(pixels: width, cells: columns)
    let down = Overlaps(pixels: height, cells: rows)
    // First along rows, [height, columns].
    var partial = [Int](repeating: 0, count: height * columns)
    coverage.withUnsafeBufferPointer { coverage in
      for y in 0..<height {
        for cell in 0..<columns {
          partial[y * columns + cell] = across.sum(cell) { Int(coverage[y * width + $0]) }
        }
      }
    }
    return partial.withUnsafeBufferPointer { partial in
      (0..<rows * columns).map { index in
        let (row, column) = index.quotientAndRemainder(dividingBy: columns)
        return down.sum(row) { partial[$0 * columns + column] }
      }
    }
  }
}

/// How `cells` equal parts of an axis overlap its `pixels`. With pixels of length `cells` and cells of
/// length `pixels`, all lengths are whole.
private struct Overlaps {
  let pixels: Int
  let cells: Int

  @inline(__always)
  func sum(_ cell: Int, _ value: (Int) -> Int) -> Int {
    let (start, end) = (cell * pixels, (cell + 1) * pixels)
    var sum = 0
    var pixel = start / cells
    while pixel * cells < end {
      let overlap = min((pixel + 1) * cells, end) - max(pixel * cells, start)
      sum += value(pixel) * overlap
      pixel += 1
    }
    return sum
  }
}
