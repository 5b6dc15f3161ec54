import Torch

/// What a layer carries from scale to scale, in memory that stays in place.
public struct MambaScanState {
  /// `[R, 3, D + 128]`, before and after the current scale in turn.
  let conv: [Tensor]
  /// `[R, H, 64, 64]` in the kernels' own order (`CarriedState` of `mamba_scan.cu`).
  let ssm: Tensor
}

/// The states of all layers of a model, side by side.
public struct MambaScanStates {
  /// `[layers, R, 3, D + 128]`, before and after the current scale in turn.
  let conv: [Tensor]
  /// `[layers, R, H, 64, 64]`
  let ssm: Tensor
  private let count: Int

  public init(layers: Int, sequences R: Int, inner: Int, dtype: DType, device: Device) {
    count = layers
    conv = (0..<2).map { _ in
      .empty([layers, R, 3, inner + 128], dtype: dtype, device: device)
    }
    ssm = .empty([layers, R, inner / 64, 64, 64], dtype: dtype, device: device)
  }

  /// Each layer's own.
  public var layers: [MambaScanState] {
    (0..<count).map { layer in
      MambaScanState(conv: conv.map { $0.select(0, layer) }, ssm: ssm.select(0, layer))
    }
  }
}

extension MambaScanWeights {
  /// Those of several layers, side by side.
  public init(stacking layers: [MambaScanWeights]) {
    func stacked(_ weight: KeyPath<MambaScanWeights, Tensor>) -> Tensor {
      .stack(layers.map { $0[keyPath: weight] }, axis: 0)
    }
    self.init(
      convWeight: stacked(\.convWeight), convBias: stacked(\.convBias), dtBias: stacked(\.dtBias),
      a: stacked(\.a), d: stacked(\.d))
  }
}

extension CUDAKernels {
  /// What ``mambaScan(_:_:state:scale:keepsState:)`` leaves of a first scale of one token, in all layers.
  ///
  /// - Parameters:
  ///   - rows: `[layers, classes, D + 128 + H]`, [x, B, C, dt] as each layer's `in_proj` gives them for each class.
  ///   - classes: int64 `[R]`, whose row each sequence has.
  ///   - weights: those of the layers, stacked.
  public func keepFirstToken(
    _ rows: Tensor, of classes: Tensor, _ weights: MambaScanWeights, in states: MambaScanStates
  ) {
    let (layers, count, _) = rows.shape3
    let (R, heads) = (classes.length(0), states.ssm.length(2))
    mambaFirstToken(
      grid: (heads, R, layers), threads: 128,
      [
        .tensor(rows), .tensor(classes), .tensor(weights.convWeight), .tensor(weights.convBias),
        .tensor(weights.dtBias), .tensor(states.conv[1]), .tensor(states.ssm), .int(count),
      ])
  }
}
