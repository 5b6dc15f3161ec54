import Torch

extension TrainingKernels {
  /// The cross entropy of each row of logits `[T, V]`, V a multiple of 8: float32 `[T]`, and what its gradient needs.
  ///
  /// - Parameters:
  ///   - targets: int64 `[T]`.
  ///   - smoothing: The share of each target's weight that all classes get alike.
  public func crossEntropy(_ logits: Tensor, _ targets: Tensor, smoothing: Double) -> (
    losses: Tensor, logs: Tensor
  ) {
    let (T, V) = logits.shape2
    let (losses, logs) = (sums([T], logits), sums([T], logits))
    launch(
      "cross_entropy", grid: (T, 1, 1), threads: 256,
      [
        .tensor(logits), .tensor(targets), .tensor(losses), .tensor(logs), .int(V),
        .float(smoothing),
      ])
    return (losses, logs)
  }

  /// The gradient of the logits from that of the losses, float32 `[T]`.
  public func crossEntropyGradient(
    _ dLosses: Tensor, _ logits: Tensor, _ targets: Tensor, logs: Tensor, smoothing: Double
  ) -> Tensor {
    let (T, V) = logits.shape2
    let gradient = empty(logits.shape, logits)
    launch(
      "cross_entropy_backward", grid: (T, 1, 1), threads: 256,
      [
        .tensor(logits), .tensor(targets), .tensor(logs), .tensor(dLosses), .tensor(gradient),
        .int(V), .float(smoothing),
      ])
    return gradient
  }

  /// The gradient of GELU (tanh form) at `x` `[R, n, N]`, in the memory of that of its value; its sum over tokens, `[N]`;
  /// and the value once more.
  public func geluGradient(_ dOut: Tensor, _ x: Tensor) -> (x: Tensor, sum: Tensor, out: Tensor) {
    let out = empty(x.shape, x)
    let N = x.length(2)
    let rows = x.count / max(N, 1)
    precondition(N % 8 == 0)
    let together = 64
    let groups = (rows + together - 1) / together
    let partial = sums([groups, N], x)
    launch(
      "gelu_backward", grid: ((N + 2047) / 2048, groups, 1), threads: 256,
      [
        .tensor(x), .tensor(dOut), .tensor(dOut), .tensor(out), .tensor(partial), .int(rows),
        .int(N), .int(together),
      ])
    return (dOut, partial.sum(0).to(dtype), out)
  }
}
