import CUDAKernels
import Torch

/// What all blocks carry from scale to scale, in memory that stays in place.
enum FusedState {
  case mamba(MambaScanStates)
  case keys(KeyValueCaches)

  /// - Parameters:
  ///   - layers: nil for all.
  ///   - tokens: how many are kept where keys are; nil for all of a picture.
  init(
    _ configuration: TransformerConfiguration, layers: Int? = nil, sequences: Int,
    tokens: Int? = nil, _ dtype: DType, _ device: Device
  ) {
    let (layers, width) = (layers ?? configuration.depth, configuration.width)
    switch configuration.kind {
    case .mvar:
      self = .mamba(
        MambaScanStates(
          layers: layers, sequences: sequences, inner: 2 * width, dtype: dtype, device: device))
    case .var:
      self = .keys(
        KeyValueCaches(
          layers: layers, sequences: sequences,
          capacity: tokens ?? configuration.schedule.tokenCount, width: width, dtype: dtype,
          device: device))
    }
  }

  /// Each block's part.
  var blocks: [FusedBlock.State] {
    switch self {
    case .mamba(let states): states.layers.map { .mamba($0) }
    case .keys(let caches): caches.layers.map { .keys($0) }
    }
  }
}
