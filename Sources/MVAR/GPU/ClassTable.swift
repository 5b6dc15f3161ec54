import CUDAKernels
import Torch

// L labels: the classes and the unconditional one. R sequences, B images, C width, V vocabulary.

/// What a class alone decides, of all classes: how it modulates every block, the logits of the first scale, whose one token
/// is the class, and what that token leaves to the scales behind it. A picture then begins with its second scale.
struct ClassTable {
  /// What it took to compute.
  let seconds: Double
  let bytes: Int
  private let kernels: CUDAKernels
  /// `[blocks · L, (9 or 6)·C]`
  private let modulations: Tensor
  private let head: Tensor  // [L, 2·C]
  private let logits: Tensor  // [L, V]
  private let left: Left
  /// int64 `[blocks, 1]`: the row of each block's first label.
  private let firstRows: Tensor

  private enum Left {
    /// `[blocks, L, D + 128 + H]`: what `in_proj` makes of the token, but for the gate.
    case projected(Tensor, MambaScanWeights)
    /// `[blocks · L, 2·C]`: its keys and values.
    case keys(Tensor)
  }

  /// Labels that are computed at once.
  private static let chunk = 256
  /// What is never too much, in bytes.
  private static let alwaysAllowed = 256 << 20

  /// Nil for a first scale of several tokens, and where memory is better kept: if it took more than the transformer's weights
  /// or an eighth of what the GPU has, or if there is too little.
  static func make(_ model: FusedTransformer, _ transformer: Transformer) throws -> ClassTable? {
    let configuration = transformer.configuration
    guard configuration.schedule.sizes[0].count == 1 else { return nil }
    let weights = 2 * SamplingFloor.weights(of: transformer)
    let allowed = min(max(alwaysAllowed, weights), try CUDA.properties().memoryBytes / 8)
    guard bytes(configuration) <= allowed else { return nil }
    do {
      return try withTorchErrors { try ClassTable(model, transformer) }
    } catch let error as TorchError where error.kind == .outOfMemory {
      return nil
    }
  }

  /// What it takes, in bytes.
  private static func bytes(_ configuration: TransformerConfiguration) -> Int {
    let C = configuration.width
    let block =
      switch configuration.kind {
      case .mvar: 9 * C + 2 * C + 128 + 2 * C / 64
      case .var: 6 * C + 2 * C
      }
    let label = configuration.depth * block + 2 * C + configuration.vocabulary
    return 2 * (configuration.classes + 1) * label
  }

  private init(_ model: FusedTransformer, _ transformer: Transformer) throws {
    let configuration = transformer.configuration
    let began = ContinuousClock.now
    let (dtype, device) = (transformer.head.weight.dtype, transformer.head.weight.device)
    let (L, depth, C) = (configuration.classes + 1, configuration.depth, configuration.width)
    let isMamba = configuration.kind == .mvar
    var modulations = FilledTable(axis: 1, count: L)
    var head = FilledTable(axis: 0, count: L)
    var logits = FilledTable(axis: 0, count: L)
    var left = FilledTable(axis: 1, count: L)
    for start in stride(from: 0, to: L, by: Self.chunk) {
      let own = start..<min(start + Self.chunk, L)
      // Thrown before anything is made of what could not be computed.
      let (condition, projected, ownLogits, state) = try withTorchErrors {
        let labels = Tensor.of(Array(own), device: device)
        let condition = model.condition(labels)
        let state = FusedState(
          configuration, layers: isMamba ? 1 : depth, sequences: own.count, tokens: 1, dtype,
          device)
        // What scans leave nobody reads, so that they may leave it in one place.
        let blocks = isMamba ? Array(repeating: state.blocks[0], count: depth) : state.blocks
        var projected: [Tensor] = []
        let logits = model.step(
          model.firstInput(labels), scale: 0, condition: condition, state: blocks
        ) { _, all in projected.append(all.select(1, 0)) }
        return (condition, projected, logits, state)
      }
      try withTorchErrors {
        modulations.fill(own, with: .stack(condition.blocks.map(\.rows), axis: 0))
        head.fill(own, with: condition.head.rows)
        logits.fill(own, with: ownLogits.select(1, 0))
        switch state {
        case .mamba:
          let withoutGates = projected.map { $0.slice(1, 2 * C..<$0.length(1)) }
          left.fill(own, with: .stack(withoutGates, axis: 0))
        case .keys(let caches): left.fill(own, with: caches.rows.select(2, 0))
        }
      }
    }
    kernels = model.kernels
    self.modulations = modulations.rows!.reshape(depth * L, -1)
    (self.head, self.logits) = (head.rows!, logits.rows!)
    self.left =
      isMamba
      ? .projected(
        left.rows!, MambaScanWeights(stacking: model.blocks.compactMap(\.scanWeights)))
      : .keys(left.rows!.reshape(depth * L, -1))
    firstRows = .of((0..<depth).map { $0 * L }, shape: [depth, 1], device: device)
    try CUDA.synchronize()
    seconds = began.duration(to: ContinuousClock.now).seconds
    bytes = Self.bytes(configuration)
  }

  /// As ``FusedTransformer/begin(labels:sequences:state:)``.
  func begin(labels: Tensor, sequences: Tensor, state: FusedState) -> (
    condition: FusedTransformer.Condition, logits: Tensor
  ) {
    switch (left, state) {
    case (.projected(let rows, let weights), .mamba(let states)):
      kernels.keepFirstToken(rows, of: sequences, weights, in: states)
    case (.keys(let rows), .keys(let caches)):
      caches.rows.select(2, 0).copyInPlace(from: rows.embedding(firstRows + sequences))
    default: preconditionFailure("a state of another kind of model")
    }
    let own = modulations.embedding(firstRows + labels)
    return (
      FusedTransformer.Condition(
        blocks: (0..<firstRows.length(0)).map { ModulationTable(rows: own.select(0, $0)) },
        head: ModulationTable(rows: head.embedding(labels))),
      logits.embedding(sequences).unsqueeze(1)
    )
  }
}

/// A table that is filled some labels at a time, so that it is never there twice.
private struct FilledTable {
  /// The labels'.
  let axis: Int
  let count: Int
  private(set) var rows: Tensor?

  init(axis: Int, count: Int) { (self.axis, self.count) = (axis, count) }

  mutating func fill(_ labels: Range<Int>, with part: Tensor) {
    if rows == nil {
      var shape = part.shape
      // Of what could not be had nothing is made; the scope throws why.
      guard axis < shape.count else { return }
      shape[axis] = count
      rows = .empty(shape, dtype: part.dtype, device: part.device)
    }
    rows!.slice(axis, labels).copyInPlace(from: part)
  }
}
