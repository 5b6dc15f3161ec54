import Torch

/// Bilinear resizing as TensorFlow 1.x does it without aligned corners: pixel i of n reads from
/// i·(old / new), so that pictures move up and left a little (`resize_bilinear_op.cc` of TensorFlow
/// 1.x, with `half_pixel_centers` false).
final class TensorFlowResizing {
  /// Which two pixels of an axis are mixed, and how much of the second.
  struct Axis {
    let lower: [Int64]
    let upper: [Int64]
    let weight: [Float]

    init(from old: Int, to new: Int) {
      let scale = Float(old) / Float(new)
      let places = (0..<new).map { Float($0) * scale }
      lower = places.map { Int64($0) }
      upper = lower.map { min($0 + 1, Int64(old - 1)) }
      weight = zip(places, lower).map { $0 - Float($1) }
    }
  }

  private struct Key: Hashable {
    let old: Int
    let new: Int
    let device: Device
  }

  private struct Taps {
    let lower: Tensor
    let upper: Tensor
    let weight: Tensor
  }

  private var known: [Key: Taps] = [:]

  /// `[B, C, H, W]` → `[B, C, side, side]`
  func callAsFunction(_ x: Tensor, to side: Int) -> Tensor {
    mixed(mixed(x, axis: 3, to: side), axis: 2, to: side)
  }

  private func mixed(_ x: Tensor, axis: Int, to side: Int) -> Tensor {
    if x.length(axis) == side { return x }
    let taps = taps(Key(old: x.length(axis), new: side, device: x.device), x.dtype)
    let weight = axis == 3 ? taps.weight : taps.weight.reshape(-1, 1)
    let lower = x.indexed(axis, taps.lower)
    return lower.adding(x.indexed(axis, taps.upper) - lower, times: weight)
  }

  /// Kept, so that a batch need not wait for a copy to the GPU.
  private func taps(_ key: Key, _ dtype: DType) -> Taps {
    if let taps = known[key] { return taps }
    let axis = Axis(from: key.old, to: key.new)
    let taps = Taps(
      lower: .of(axis.lower, device: key.device), upper: .of(axis.upper, device: key.device),
      weight: Tensor.of(axis.weight, device: key.device).to(dtype))
    known[key] = taps
    return taps
  }
}
