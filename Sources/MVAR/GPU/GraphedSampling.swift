import CUDAKernels
import Torch

/// Sampling for one batch size, as CUDA graphs: one for the condition, and one a scale.
///
/// The first run of each part does its work operation by operation, the second is recorded, and from then on the part is
/// one call. All that differs between runs — classes, seeds and settings — lies in tensors that stay in place.
/// One sampler at a time uses it, on the executor's thread.
final class GraphedSampling: @unchecked Sendable {
  let batch: Int
  private let model: FusedTransformer
  private let quantizer: Quantizer
  private let fusedQuantizer: FusedQuantizer?
  private let fHat: Tensor  // float32 [B, Cvae, h, w]
  private let schedule: ScaleSchedule
  private let unconditionalLabel: Int
  private let states: [FusedBlock.State]
  private let labels: Tensor  // int64 [B + 1]
  private let seeds: Tensor  // int64 [B]
  private let settings: Tensor  // float32 [B, 3]: guidance, top-p, top-k
  private var condition: RecordedWork<FusedTransformer.Condition>
  private var scales: [RecordedWork<Step>]
  private let memory = GraphMemory()

  private struct Step {
    let tokens: Tensor
    /// What the next scale reads, `[B, n, Cvae]`.
    let next: Tensor?
  }

  init(_ model: FusedTransformer, _ transformer: Transformer, _ quantizer: Quantizer, batch: Int) {
    let device = transformer.head.weight.device
    (self.model, self.quantizer, self.batch) = (model, quantizer, batch)
    schedule = transformer.configuration.schedule
    unconditionalLabel = transformer.unconditionalLabel
    states = model.state(batch: batch)
    fusedQuantizer = FusedQuantizer(quantizer, schedule, model.kernels)
    fHat = .zeros(
      [batch, quantizer.codebook.length(1), schedule.final.height, schedule.final.width],
      device: device)
    labels = .zeros([batch + 1], dtype: .int64, device: device)
    seeds = .zeros([batch], dtype: .int64, device: device)
    settings = .zeros([batch, 3], device: device)
    condition = RecordedWork(memory)
    scales = (0..<schedule.count).map { [memory] _ in RecordedWork(memory) }
  }

  /// Sets what the pictures are; at most ``batch`` of them, the rest of the batch repeats the last.
  func begin(labels: [Int], seeds: [UInt64], settings: [SamplingSettings]) throws {
    func padded<T>(_ values: [T]) -> [T] {
      values + Array(repeating: values[values.count - 1], count: batch - values.count)
    }
    self.labels.copyInPlace(from: .of(padded(labels) + [unconditionalLabel]), nonBlocking: true)
    self.seeds.copyInPlace(
      from: .of(padded(seeds).map { Int(bitPattern: UInt($0)) }), nonBlocking: true)
    self.settings.copyInPlace(
      from: .of(
        padded(settings).flatMap { [Float($0.guidance), Float($0.topP), Float($0.topK)] },
        shape: [batch, 3]), nonBlocking: true)
    _ = try condition.run { [model, classes = self.labels] in model.condition(classes) }
  }

  /// Scales have to be asked for in their order.
  ///
  /// - Returns: int64 `[B, n]` and float32 `[B, Cvae, h, w]`, which the next run overwrites.
  func scale(_ k: Int) throws -> (tokens: Tensor, fHat: Tensor) {
    let input = k == 0 ? nil : scales[k - 1].result!.next
    let condition = condition.result!
    let step = try scales[k].run {
      let logits = model.step(input, scale: k, condition: condition, state: states)
      let tokens = try model.kernels.drawTokens(
        logits, seeds: seeds, settings: settings, progress: Sampler.progress(k, schedule),
        domain: TokenDraw.domain(scale: k))
      return Step(tokens: tokens, next: try add(tokens, scale: k))
    }
    return (step.tokens, fHat)
  }
}

extension GraphedSampling {
  /// Adds a scale's tokens to f̂; what the next scale reads.
  private func add(_ tokens: Tensor, scale k: Int) throws -> Tensor? {
    if let fusedQuantizer { return try fusedQuantizer.add(tokens, scale: k, to: fHat) }
    let codes = quantizer.codebook.embedding(tokens)
    let added = quantizer.contribution(of: codes, scale: k, schedule)
    fHat.copyInPlace(from: k == 0 ? added : fHat + added)
    return k + 1 < schedule.count
      ? quantizer.input(fromFHat: fHat, scale: k + 1, schedule) : nil
  }
}

/// The memory that the graphs of one batch size share: the first of them brings it.
final class GraphMemory {
  var owner: CUDAGraph?
}

/// Work that is done once as it is, then recorded, then replayed.
struct RecordedWork<Result> {
  private let memory: GraphMemory
  private var graph: CUDAGraph?
  /// What the last run gave; replays write to the same tensors.
  private(set) var result: Result?

  init(_ memory: GraphMemory) { self.memory = memory }

  mutating func run(_ body: () throws -> Result) throws -> Result {
    if result == nil {
      let first = try body()
      result = first
      return first
    }
    if graph == nil {
      let recording = try CUDAGraph.recording(sharingMemoryWith: memory.owner, body)
      if memory.owner == nil { memory.owner = recording.graph }
      (graph, result) = (recording.graph, recording.result)
    }
    try graph!.replay()
    return result!
  }
}
