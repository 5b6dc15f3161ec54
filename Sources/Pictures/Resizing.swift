#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

// Lanczos resampling in fixed point, to the bit as Pillow does it for 8-bit pictures, because the
// published checkpoints were trained on pictures that Pillow had resized.
//
// One axis is resampled, then the other. Each output sample is a weighted sum of input samples; when
// shrinking, the filter is stretched by the scale, so that every input sample counts.

/// Fractional bits of a weight: 32, less 8 for the sample and 2 for sums beyond the range.
private let weightBits = 32 - 8 - 2

/// The input samples and weights from which some output samples of one axis are made.
private struct Taps {
  /// Weights reserved for each output sample.
  let stride: Int
  /// First input sample of each output sample.
  private(set) var first: [Int] = []
  /// How many input samples each output sample uses, at most `stride`.
  private(set) var count: [Int] = []
  /// [output, stride], in units of 1 / 2^weightBits.
  private(set) var weights: [Int32]

  /// Of an axis of `input` samples that becomes one of `output`, those in `outputs`.
  init(from input: Int, to output: Int, outputs: Range<Int>) {
    if input == output {
      stride = 1
      first = Array(outputs)
      count = [Int](repeating: 1, count: outputs.count)
      weights = [Int32](repeating: 1 << Int32(weightBits), count: outputs.count)
      return
    }
    let scale = Double(input) / Double(output)
    let stretch = max(scale, 1)
    let reach = 3 * stretch
    stride = Int(reach.rounded(.up)) * 2 + 1
    weights = [Int32](repeating: 0, count: outputs.count * stride)
    var exact = [Double](repeating: 0, count: stride)
    for (index, sample) in outputs.enumerated() {
      let center = (Double(sample) + 0.5) * scale
      let low = max(Int(center - reach + 0.5), 0)
      let high = min(Int(center + reach + 0.5), input)
      var sum = 0.0
      for tap in 0..<high - low {
        exact[tap] = lanczos((Double(low + tap) - center + 0.5) * (1 / stretch))
        sum += exact[tap]
      }
      for tap in 0..<high - low {
        let weight = sum == 0 ? exact[tap] : exact[tap] / sum
        let rounding = weight < 0 ? -0.5 : 0.5
        weights[index * stride + tap] = Int32(weight * Double(1 << weightBits) + rounding)
      }
      first.append(low)
      count.append(high - low)
    }
  }

  /// The input samples that any output sample uses.
  var inputs: Range<Int> { first[0]..<first[first.count - 1] + count[count.count - 1] }

  /// The same weights for an axis that lacks its first `samples`.
  func dropping(_ samples: Int) -> Taps {
    var taps = self
    for i in first.indices { taps.first[i] -= samples }
    return taps
  }
}

/// The Lanczos window of three lobes.
private func lanczos(_ x: Double) -> Double {
  func sinc(_ x: Double) -> Double { x == 0 ? 1 : sin(x * .pi) / (x * .pi) }
  return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0
}

/// A weighted sum, which began at one half, as a byte.
@inline(__always)
private func byte(_ sum: Int32) -> UInt8 {
  UInt8(truncatingIfNeeded: min(max(sum >> Int32(weightBits), 0), 255))
}

extension Picture {
  /// The picture resampled to `width` by `height` pixels with a Lanczos filter of three lobes,
  /// without regard to its proportions; to the bit what Pillow's `resize` with `LANCZOS` gives.
  ///
  /// A picture that has this size already is returned as it is. Traps unless both sides are at
  /// least 1.
  public func resized(width: Int, height: Int) -> Picture {
    precondition(width >= 1 && height >= 1, "a picture of \(width)x\(height) has no pixels")
    if width == self.width && height == self.height { return self }
    return resampled(width: width, height: height, columns: 0..<width, rows: 0..<height)
  }

  /// The part of `resized(width:height:)` in some columns and rows, without making the rest: a thread
  /// of a picture, brought to a sensible width, would be longer than any memory.
  package func resampled(width: Int, height: Int, columns: Range<Int>, rows: Range<Int>) -> Picture
  {
    let across = Taps(from: self.width, to: width, outputs: columns)
    let down = Taps(from: self.height, to: height, outputs: rows)
    // Bytes between the passes are rounded, so the order counts: Pillow, as of version 13, shortens
    // columns first where they lose more than twice as many pixels as rows do.
    if self.height > height && self.height - height > 2 * (self.width - width) {
      return resampledColumns(down).resampledRows(across)
    }
    let used = down.inputs
    return cropped(x: 0, y: used.lowerBound, width: self.width, height: used.count)
      .resampledRows(across).resampledColumns(down.dropping(used.lowerBound))
  }

  /// [H, W, 3] → [H, taps, 3]
  private func resampledRows(_ taps: Taps) -> Picture {
    let newWidth = taps.first.count
    return pixels.withUnsafeBufferPointer { source in
      taps.weights.withUnsafeBufferPointer { weights in
        Picture(width: newWidth, height: height) { out in
          for y in 0..<height {
            let row = source.baseAddress! + y * width * 3
            var to = out + y * newWidth * 3
            for x in 0..<newWidth {
              var from = row + taps.first[x] * 3
              let weight = weights.baseAddress! + x * taps.stride
              var red: Int32 = 1 << (weightBits - 1)
              var green = red
              var blue = red
              for tap in 0..<taps.count[x] {
                red &+= Int32(from[0]) &* weight[tap]
                green &+= Int32(from[1]) &* weight[tap]
                blue &+= Int32(from[2]) &* weight[tap]
                from += 3
              }
              to[0] = byte(red)
              to[1] = byte(green)
              to[2] = byte(blue)
              to += 3
            }
          }
        }
      }
    }
  }

  /// [H, W, 3] → [taps, W, 3]
  private func resampledColumns(_ taps: Taps) -> Picture {
    let newHeight = taps.first.count
    let stride = width * 3
    var sums = [Int32](repeating: 0, count: stride)
    return pixels.withUnsafeBufferPointer { source in
      sums.withUnsafeMutableBufferPointer { sums in
        Picture(width: width, height: newHeight) { out in
          for y in 0..<newHeight {
            sums.update(repeating: 1 << (weightBits - 1))
            for tap in 0..<taps.count[y] {
              let weight = taps.weights[y * taps.stride + tap]
              let row = source.baseAddress! + (taps.first[y] + tap) * stride
              for i in 0..<stride { sums[i] &+= Int32(row[i]) &* weight }
            }
            let to = out + y * stride
            for i in 0..<stride { to[i] = byte(sums[i]) }
          }
        }
      }
    }
  }
}
