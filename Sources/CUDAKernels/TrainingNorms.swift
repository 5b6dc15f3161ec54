import Torch

/// What a sublayer's input is made with, and what its output is added with: rows `[R, C]` in the kernels' type.
public struct ModulationRows {
  public let onePlusScale: Tensor
  public let shift: Tensor

  public init(onePlusScale: Tensor, shift: Tensor) {
    (self.onePlusScale, self.shift) = (onePlusScale, shift)
  }
}

/// The residual stream behind a sublayer that has just been added, normalised for the next.
public struct ResidualNorm {
  /// x + γ·y, `[R, n, C]`.
  public let sum: Tensor
  /// LN(sum)·(1 + s) + b, `[R, n, C]`.
  public let out: Tensor
  /// float32 `[R, n, 2]`: means, and what is multiplied by.
  public let statistics: Tensor
}

/// Gradients of ``ResidualNorm``.
public struct ResidualNormGradients {
  /// Of x, and of the sum.
  public let x: Tensor
  /// Of y and of γ `[R, C]`; nil where nothing was added.
  public let y: Tensor?
  public let gain: Tensor?
  /// `[R, C]`
  public let onePlusScale: Tensor
  public let shift: Tensor
}

extension TrainingKernels {
  /// Whether the kernels can work on rows of this width.
  public static func supports(width: Int) -> Bool { width % 64 == 0 && width <= 5120 }

  /// Ends a sublayer and begins the next: x + γ·y, and LN of it, modulated.
  ///
  /// - Parameters:
  ///   - x: `[R, n, C]`.
  ///   - added: y `[R, n, C]` and γ `[R, C]`; nil for x as it is.
  public func residualNorm(
    _ x: Tensor, adding added: (y: Tensor, gain: Tensor)?, _ modulation: ModulationRows
  ) -> ResidualNorm {
    let (R, n, _) = x.shape3
    let result = ResidualNorm(
      sum: added == nil ? x : empty(x.shape, x), out: empty(x.shape, x),
      statistics: sums([R, n, 2], x))
    normalize(
      x, added, sum: added == nil ? nil : result.sum, out: result.out, result.statistics, modulation
    )
    return result
  }

  /// ``ResidualNorm/out`` once more.
  public func normalizedAgain(_ sum: Tensor, _ modulation: ModulationRows) -> Tensor {
    let out = empty(sum.shape, sum)
    normalize(sum, nil, sum: nil, out: out, nil, modulation)
    return out
  }

  private func normalize(
    _ x: Tensor, _ added: (y: Tensor, gain: Tensor)?, sum: Tensor?, out: Tensor,
    _ statistics: Tensor?, _ modulation: ModulationRows
  ) {
    let (R, n, C) = x.shape3
    launch(
      "residual_norm", grid: (n, R, 1), threads: threads(for: C),
      [
        .tensor(x), .optional(added?.y), .optional(sum), .tensor(out), .optional(statistics),
        .optional(added?.gain), .tensor(modulation.onePlusScale), .tensor(modulation.shift),
        .int(C), .int(C), .int(C), .int(C),
      ])
  }

  /// - Parameters:
  ///   - dSum: The gradient of the sum from elsewhere; nil for none.
  ///   - dOut: That of the normalised output.
  ///   - sum, statistics: Of the forward pass.
  public func residualNormGradients(
    _ dSum: Tensor?, _ dOut: Tensor, sum: Tensor, statistics: Tensor,
    adding added: (y: Tensor, gain: Tensor)?, onePlusScale: Tensor
  ) -> ResidualNormGradients {
    let (R, n, C) = sum.shape3
    let rows = 20
    let groups = (n + rows - 1) / rows
    let dx = empty(sum.shape, sum)
    let dy = added.map { _ in empty(sum.shape, sum) }
    let partial = sums([R, groups, 3, C], sum)
    launch(
      "residual_norm_backward", grid: (groups, R, 1), threads: threads(for: C),
      [
        .optional(dSum), .tensor(dOut), .tensor(sum), .optional(added?.y), .tensor(dx),
        .optional(dy), .tensor(partial), .tensor(statistics), .optional(added?.gain),
        .tensor(onePlusScale), .int(C), .int(C), .int(n), .int(C), .int(rows),
      ])
    let parts = partial.sum(1).to(dtype)  // [R, 3, C]
    return ResidualNormGradients(
      x: dx, y: dy, gain: added.map { _ in parts.select(1, 0) }, onePlusScale: parts.select(1, 1),
      shift: parts.select(1, 2))
  }

  /// RMSNorm(y·SiLU(z))·weight, ε = 1e-5.
  ///
  /// - Parameters:
  ///   - y: `[R, n, D]`.
  ///   - projected: `[R, n, 2·D + 128 + H]`, whose first D columns are z.
  ///   - weight: `[D]`.
  public func gatedNorm(_ y: Tensor, _ projected: Tensor, weight: Tensor) -> Tensor {
    let (R, n, D) = y.shape3
    let out = empty(y.shape, y)
    launch(
      "gated_norm", grid: (R * n, 1, 1), threads: threads(for: D),
      [
        .tensor(y), .tensor(projected), .tensor(out), .tensor(weight), .int(D),
        .int(projected.length(2)),
      ])
    return out
  }

  /// Gradients of ``gatedNorm(_:_:weight:)``; that of z goes to its columns of `dProjected`.
  ///
  /// - Returns: Those of y and of the weight, and the forward pass's output once more.
  public func gatedNormGradients(
    _ dOut: Tensor, _ y: Tensor, _ projected: Tensor, weight: Tensor, into dProjected: Tensor
  ) -> (y: Tensor, weight: Tensor, out: Tensor) {
    let (R, n, D) = y.shape3
    let rows = 32
    let groups = (R * n + rows - 1) / rows
    let (dy, out) = (empty(y.shape, y), empty(y.shape, y))
    let partial = sums([groups, D], y)
    launch(
      "gated_norm_backward", grid: (groups, 1, 1), threads: threads(for: D),
      [
        .tensor(dOut), .tensor(y), .tensor(projected), .tensor(weight), .tensor(dy),
        .tensor(dProjected), .tensor(out), .tensor(partial), .int(R * n), .int(D),
        .int(projected.length(2)), .int(rows),
      ])
    return (dy, partial.sum(0).to(dtype), out)
  }
}
