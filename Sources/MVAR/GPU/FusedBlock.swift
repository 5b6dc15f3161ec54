import CUDAKernels
import StateSpace
import Torch

// R sequences (images, twice with guidance), n tokens, C width.

/// A transformer block on a GPU: the products of ``Block`` as they are, and what stands between them fused.
struct FusedBlock {
  private struct Mamba {
    let inProj: Linear
    let scan: MambaScanWeights
    let outProj: Tensor  // the norm's weight multiplied in
    let inner: Int
  }

  /// The products that read what a kernel before them has just made, in 8 bits.
  private struct Weights8 {
    let qkv: RowsOf8Bits
    let inProj: RowsOf8Bits?
    let fc1: RowsOf8Bits
    let fc2: RowsOf8Bits
    /// Fewer rows are bound by reading weights in either form, and cuBLAS reads these ones worse.
    static let fewestRows = 1024
  }

  private let kernels: CUDAKernels
  private let block: Block
  private let eight: Weights8?
  private let scale: AttentionScale
  private let mamba: Mamba?
  /// The rows of `qkv` that give values. A single token attends to its own value alone, whatever query and key are; nil
  /// where keys are kept for later scales.
  private let values: Linear?

  init(_ block: Block, _ kernels: CUDAKernels, float8: Bool) {
    self.kernels = kernels
    self.block = block
    // cuBLAS asks for 16.
    let fits = block.mamba.map { $0.inProj.weight.length(0) % 16 == 0 } ?? true
    eight =
      float8 && kernels.multiplies8Bits
      ? Weights8(
        qkv: RowsOf8Bits(block.attention.qkv.weight),
        inProj: fits ? block.mamba.map { RowsOf8Bits($0.inProj.weight) } : nil,
        fc1: RowsOf8Bits(block.feedForward.fc1.weight),
        fc2: RowsOf8Bits(block.feedForward.fc2.weight)) : nil
    scale =
      block.attention.queryScale.map { .unitVectors($0.to(.float32).reshape(-1).contiguous()) }
      ?? .constant(0.25 / Double(TransformerConfiguration.headSize).squareRoot())
    let qkv = block.attention.qkv
    let C = qkv.weight.length(1)
    values = block.mamba.map { _ in
      Linear(
        weight: qkv.weight.slice(0, 2 * C..<3 * C), bias: qkv.bias?.slice(0, 2 * C..<3 * C),
        purpose: .inference)
    }
    mamba = block.mamba.map { layer in
      Mamba(
        inProj: layer.inProj,
        scan: MambaScanWeights(
          convWeight: layer.convWeight.reshape(-1, 4).contiguous(),
          convBias: layer.convBias, dtBias: layer.dtBias, a: layer.a, d: layer.d),
        // RMSNorm's weight acts on the columns of the product after it.
        outProj: (layer.outProj.weight.to(.float32) * layer.normWeight.to(.float32))
          .to(layer.outProj.weight.dtype),
        inner: layer.inner)
    }
  }

  /// What a block keeps between scales, in memory that stays in place.
  enum State {
    case mamba(MambaScanState)
    case keys(KeyValueCache)
  }

  /// The small weights of its scan; nil without one.
  var scanWeights: MambaScanWeights? { mamba?.scan }

  /// `[conditions, (9 or 6)·C]`, in the order of `ada_lin`: gains, scales, shifts.
  func modulations(condition: Tensor, shared: Tensor?) -> ModulationTable {
    switch block.modulator {
    case .own(let layer):
      ModulationTable(
        rows: kernels.linear(condition, layer.weight, layer.bias, isOld: true))
    case .shared(let offset): ModulationTable(rows: shared! + offset.reshape(1, -1))
    }
  }

  /// Which scale is computed, and where its tokens begin.
  struct Place {
    let scale: Int
    let firstToken: Int
    let isLast: Bool
  }

  /// - Parameters:
  ///   - x: the residual stream `[R, n, C]`, changed in place.
  ///   - before: what the block in front has still to add to it.
  ///   - note: is given what `in_proj` makes, `[R, n, 2·D + 128 + H]`.
  /// - Returns: what this block has still to add.
  func callAsFunction(
    _ x: Tensor, after before: SublayerOutput?, _ table: ModulationTable, state: State,
    at place: Place, noting note: (Tensor) -> Void = { _ in }
  ) -> SublayerOutput {
    let C = x.length(2)
    let sublayers = table.rows.length(1) / (3 * C)
    let eight = x.length(0) * x.length(1) >= Weights8.fewestRows ? eight : nil
    /// The norm in front of a sublayer, and the sublayer's first product.
    func product(
      _ index: Int, adding output: SublayerOutput?, _ layer: Linear, _ weight8: RowsOf8Bits?,
      gelu: Bool = false
    ) -> Tensor {
      let columns = (scale: (sublayers + index) * C, shift: (2 * sublayers + index) * C)
      guard let weight8 else {
        let y = kernels.modulatedNorm(
          x, adding: output, table: table, columns: columns)
        return kernels.linear(y, layer.weight, layer.bias, gelu: gelu)
      }
      let y = kernels.modulatedNormTo8(x, adding: output, table: table, columns: columns)
      return kernels.linear(y, weight8, layer.bias)
    }
    func output(_ index: Int, _ y: PartialSums, squares: Tensor? = nil, inner: Int = 1)
      -> SublayerOutput
    {
      SublayerOutput(
        y: y, squares: squares.map { ($0, inner) }, table: table, gain: index * C)
    }
    let (projection, feedForward) = (block.attention.projection, block.feedForward)
    func attended() -> PartialSums {
      if let values, x.length(1) == 1 {
        let own = product(0, adding: before, values, nil)
        return kernels.linearInParts(own, projection.weight, projection.bias)
      }
      let qkv = product(0, adding: before, block.attention.qkv, eight?.qkv)
      guard case .keys = state else {
        return kernels.projectedAttention(
          qkv, scale: scale, projection.weight, projection.bias)
      }
      return kernels.linearInParts(
        attention(qkv, state, place), projection.weight, projection.bias)
    }
    let (fc1, fc2) = (feedForward.fc1, feedForward.fc2)
    var pending = output(0, attended())
    if let mamba, case .mamba(let state) = state {
      let projected = product(1, adding: pending, mamba.inProj, eight?.inProj)
      note(projected)
      let (y, squares) = kernels.mambaScan(
        projected, mamba.scan, state: state, scale: place.scale, keepsState: !place.isLast)
      pending = output(
        1, kernels.linearInParts(y, mamba.outProj, nil), squares: squares, inner: mamba.inner)
    }
    let last = sublayers - 1
    let hidden = product(
      last, adding: pending, fc1, eight?.fc1, gelu: eight == nil)
    if let eight {
      let y = kernels.linear(kernels.geluTo8(hidden), eight.fc2, fc2.bias)
      return output(last, PartialSums(parts: y.unsqueeze(0)))
    }
    return output(last, kernels.linearInParts(hidden, fc2.weight, fc2.bias))
  }

  /// What a block is made of, to be measured one by one.
  enum Part: String, CaseIterable, Sendable {
    case norm = "residual + norm"
    case qkv
    case attention
    case projection = "attention proj"
    case inProj = "mamba in_proj"
    case scan = "mamba scan"
    case outProj = "mamba out_proj"
    case fc1 = "ffn fc1"
    case fc2 = "ffn fc2"
  }

  /// One part on an input of its shape; nil if this block has no such part.
  func run(
    _ part: Part, _ x: Tensor, _ table: ModulationTable, state: State, at place: Place
  ) -> Tensor? {
    let (attention, feedForward) = (block.attention, block.feedForward)
    func linear(_ layer: Linear) -> Tensor { kernels.linear(x, layer.weight, layer.bias) }
    func inParts(_ layer: Linear) -> Tensor {
      kernels.linearInParts(x, layer.weight, layer.bias).parts
    }
    switch part {
    case .norm:
      let output = SublayerOutput(y: PartialSums(parts: x.unsqueeze(0)), table: table, gain: 0)
      return kernels.modulatedNorm(x, adding: output, table: table, columns: (0, 0))
    case .qkv: return linear(attention.qkv)
    case .attention: return self.attention(x, state, place)
    case .projection: return inParts(attention.projection)
    case .inProj: return mamba.map { linear($0.inProj) }
    case .scan:
      guard let mamba, case .mamba(let state) = state else { return nil }
      return kernels.mambaScan(
        x, mamba.scan, state: state, scale: place.scale, keepsState: !place.isLast
      ).y
    case .outProj: return mamba.map { kernels.linearInParts(x, $0.outProj, nil).parts }
    case .fc1:
      return kernels.linear(x, feedForward.fc1.weight, feedForward.fc1.bias, gelu: true)
    case .fc2: return inParts(feedForward.fc2)
    }
  }

  /// The length of a part's input rows; nil if this block has no such part.
  func inputWidth(of part: Part) -> Int? {
    let C = block.attention.qkv.weight.length(1)
    switch part {
    case .norm, .qkv, .projection, .fc1: return C
    case .attention: return 3 * C
    case .inProj: return mamba == nil ? nil : C
    case .scan: return mamba?.inProj.weight.length(0)
    case .outProj: return mamba?.inner
    case .fc2: return block.feedForward.fc2.weight.length(1)
    }
  }

  private func attention(
    _ qkv: Tensor, _ state: State, _ place: Place
  ) -> Tensor {
    guard case .keys(let cache) = state else {
      return kernels.attention(qkv, scale: scale)
    }
    return kernels.attention(
      qkv, scale: scale, cache: cache, from: place.firstToken)
  }
}
