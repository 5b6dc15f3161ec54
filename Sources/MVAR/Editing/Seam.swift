import Pictures

/// How an edited part is put back into the picture that it came from.
extension EditMask {
  /// How much of the edited picture is shown at each pixel, 0 to 255: all of it inside the mask, and
  /// from there, over `feather` pixels outwards, less and less.
  func feathered(_ feather: Int) -> [UInt8] {
    let distances = squaredDistances()
    let reach = Double(feather)
    return zip(coverage, distances).map { covered, squared in
      let distance = squared.squareRoot()
      guard distance <= reach else { return covered }
      let linear = 1 - distance / (reach + 1)
      let smooth = linear * linear * (3 - 2 * linear)
      return max(covered, UInt8((255 * smooth).rounded()))
    }
  }

  /// The squared distance of each pixel to the nearest one that is at least half covered; very large
  /// where there is none (Felzenszwalb and Huttenlocher, "Distance transforms of sampled functions",
  /// 2012).
  func squaredDistances() -> [Double] {
    var plane = coverage.map { $0 >= 128 ? 0.0 : 1e12 }
    var line = LowerEnvelope(capacity: max(width, height))
    for x in 0..<width {
      line.transform(&plane, start: x, count: height, stride: width)
    }
    for y in 0..<height {
      line.transform(&plane, start: y * width, count: width, stride: 1)
    }
    return plane
  }
}

/// The minimum over q of f(q) + (p − q)², for all p of a line: the lower envelope of parabolas.
private struct LowerEnvelope {
  private var values: [Double]
  /// Where each parabola of the envelope has its lowest point.
  private var centres: [Int]
  /// From where on each is the lowest.
  private var starts: [Double]

  init(capacity: Int) {
    values = Array(repeating: 0, count: capacity)
    centres = Array(repeating: 0, count: capacity)
    starts = Array(repeating: 0, count: capacity)
  }

  mutating func transform(_ plane: inout [Double], start: Int, count: Int, stride: Int) {
    for i in 0..<count { values[i] = plane[start + i * stride] }
    var last = 0
    (centres[0], starts[0]) = (0, -.infinity)
    for q in 1..<max(count, 1) {
      var crossing = self.crossing(centres[last], q)
      while crossing <= starts[last] {
        last -= 1
        crossing = self.crossing(centres[last], q)
      }
      last += 1
      (centres[last], starts[last]) = (q, crossing)
    }
    var current = 0
    for p in 0..<count {
      while current < last, starts[current + 1] < Double(p) { current += 1 }
      let distance = Double(p - centres[current])
      plane[start + p * stride] = distance * distance + values[centres[current]]
    }
  }

  /// Where the parabola of `q` begins to be below that of `p`, which is left of it.
  private func crossing(_ p: Int, _ q: Int) -> Double {
    let (a, b) = (Double(p), Double(q))
    return ((values[q] + b * b) - (values[p] + a * a)) / (2 * (b - a))
  }
}

extension Picture {
  /// The picture with `other` over it at (`x`, `y`), as much of it as `shares` says.
  ///
  /// - Parameter shares: `[height, width]` of this picture, 255 for the other alone.
  func blended(with other: Picture, x: Int, y: Int, shares: [UInt8]) -> Picture {
    var out = pixels
    for row in max(y, 0)..<min(y + other.height, height) {
      for column in max(x, 0)..<min(x + other.width, width) {
        let share = Int(shares[row * width + column])
        guard share > 0 else { continue }
        let (to, from) = (
          (row * width + column) * 3, ((row - y) * other.width + column - x) * 3
        )
        for channel in 0..<3 {
          let (old, new) = (Int(out[to + channel]), Int(other.pixels[from + channel]))
          out[to + channel] = UInt8((new * share + old * (255 - share) + 127) / 255)
        }
      }
    }
    return Picture(width: width, height: height, pixels: out)
  }
}
