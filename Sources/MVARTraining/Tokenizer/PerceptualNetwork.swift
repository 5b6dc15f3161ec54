import Torch

/// A network whose inner features tell pictures apart as people do.
public protocol PerceptualNetwork: AnyObject {
  /// Pictures can be no smaller, in pixels along a side.
  var smallestSide: Int { get }

  /// How different pictures in [−1, 1] look, `[B, 3, H, W]` each, the mean over pictures; gradients must
  /// reach `pixels`, and need reach neither `original` nor the network.
  ///
  /// - Returns: One element.
  func distance(_ pixels: Tensor, from original: Tensor) -> Tensor
}
