import Torch

extension Tensor {
  /// Features `[B, C, h, w]` as float32 vectors of unit length along the channels; a vector of zeros
  /// stays one, and its gradient is finite.
  func unitChannels() -> Tensor {
    let x = to(.float32)
    return x * (x.power(2).sum(1, keepingAxes: true) + 1e-10).reciprocalSquareRoot()
  }
}
