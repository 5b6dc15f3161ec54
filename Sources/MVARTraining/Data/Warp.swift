import Foundation
import Pictures

/// A small turn, enlargement and shift about the middle of a square.
struct Warp {
  let degrees: Double
  /// Above 1 enlarges.
  let scale: Double
  /// In sides, to the right and down.
  let shift: (x: Double, y: Double)

  /// Shrinks a square picture to `side` pixels on the way; each of them is the mean of four bilinear
  /// samples.
  ///
  /// - Parameter outside: The colour beyond the edges; nil to go on with the edge's own.
  func applied(to picture: Picture, side: Int, outside: RGB?) -> Picture {
    let source = picture.width
    let ratio = Double(source) / Double(side)
    let angle = degrees * .pi / 180
    let (c, s) = (cos(angle) / scale, sin(angle) / scale)
    let middle = Double(side) / 2
    return picture.pixels.withUnsafeBufferPointer { pixels in
      let sampler = Sampler(pixels: pixels, side: source, outside: outside)
      return Picture(width: side, height: side) { out in
        var to = out
        for y in 0..<side {
          for x in 0..<side {
            var sum = SIMD3<Double>(repeating: 0)
            for (dx, dy) in [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)] {
              let u = Double(x) + dx - middle - shift.x * Double(side)
              let v = Double(y) + dy - middle - shift.y * Double(side)
              sum += sampler.color(
                (c * u + s * v + middle) * ratio - 0.5, (c * v - s * u + middle) * ratio - 0.5)
            }
            for channel in 0..<3 {
              to[channel] = UInt8(min(max(sum[channel] / 4 + 0.5, 0), 255))
            }
            to += 3
          }
        }
      }
    }
  }

  private struct Sampler {
    let pixels: UnsafeBufferPointer<UInt8>
    let side: Int
    let outside: RGB?

    /// Between four pixels; (0, 0) is the middle of the first one.
    func color(_ x: Double, _ y: Double) -> SIMD3<Double> {
      let (left, top) = (x.rounded(.down), y.rounded(.down))
      let (a, b) = (x - left, y - top)
      let (i, j) = (Int(left), Int(top))
      let upper = pixel(i, j) * (1 - a) + pixel(i + 1, j) * a
      let lower = pixel(i, j + 1) * (1 - a) + pixel(i + 1, j + 1) * a
      return upper * (1 - b) + lower * b
    }

    private func pixel(_ x: Int, _ y: Int) -> SIMD3<Double> {
      if let outside, x < 0 || y < 0 || x >= side || y >= side {
        return SIMD3(Double(outside.red), Double(outside.green), Double(outside.blue))
      }
      let at = (min(max(y, 0), side - 1) * side + min(max(x, 0), side - 1)) * 3
      return SIMD3(Double(pixels[at]), Double(pixels[at + 1]), Double(pixels[at + 2]))
    }
  }
}

extension Picture {
  /// Turns the plane of colours about the line of greys in YIQ, where lightness stays as it is.
  func withHueTurned(degrees: Double) -> Picture {
    let angle = degrees * .pi / 180
    let (c, s) = (cos(angle), sin(angle))
    // RGB → YIQ, a turn of I and Q, YIQ → RGB, in one matrix.
    let rows: [SIMD3<Double>] = [
      SIMD3(
        0.299 + 0.701 * c + 0.1677 * s, 0.587 - 0.587 * c + 0.3293 * s,
        0.114 - 0.114 * c - 0.497 * s),
      SIMD3(
        0.299 - 0.299 * c - 0.3281 * s, 0.587 + 0.413 * c + 0.0355 * s,
        0.114 - 0.114 * c + 0.2926 * s),
      SIMD3(
        0.299 - 0.299 * c + 1.2495 * s, 0.587 - 0.587 * c - 1.0463 * s,
        0.114 + 0.886 * c - 0.2032 * s),
    ]
    return pixels.withUnsafeBufferPointer { from in
      Picture(width: width, height: height) { out in
        for pixel in 0..<width * height {
          let at = 3 * pixel
          let color = SIMD3(Double(from[at]), Double(from[at + 1]), Double(from[at + 2]))
          for channel in 0..<3 {
            let value = (rows[channel] * color).sum()
            out[at + channel] = UInt8(min(max(value + 0.5, 0), 255))
          }
        }
      }
    }
  }
}
