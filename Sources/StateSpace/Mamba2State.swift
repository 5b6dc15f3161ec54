import Torch

/// What a Mamba-2 layer remembers of the tokens it has seen.
public struct Mamba2State {
  /// The last rows before the convolution, `[B, width − 1, channels]`.
  public var conv: Tensor
  /// h, `[B, H, P, N]`, in float32.
  public var ssm: Tensor
}
