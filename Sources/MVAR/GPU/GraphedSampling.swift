import CUDAKernels
import Torch

/// Sampling for one batch size, as CUDA graphs: one a scale, of which the first has what classes decide too.
///
/// The first run of each part does its work operation by operation, the second is recorded, and from then on the part is
/// one call. All that differs between runs — classes, seeds and settings — lies in tensors that stay in place.
/// One sampler at a time uses it, on the executor's thread.
final class GraphedSampling: @unchecked Sendable {
  /// What a sampling is recorded for.
  struct Form: Hashable {
    let batch: Int
    /// Whether some tokens are given rather than drawn.
    let takesGiven: Bool
  }

  let form: Form
  private var batch: Int { form.batch }
  private let model: FusedTransformer
  private let quantizer: Quantizer
  private let fusedQuantizer: FusedQuantizer?
  private let fHat: Tensor  // float32 [B, Cvae, h, w]
  private let schedule: ScaleSchedule
  private let unconditionalLabel: Int
  private let state: FusedState
  /// int64 `[3·B]`: what follows, so that one copy brings all.
  private let labelsAndSeeds: Tensor
  private let sequences: Tensor  // int64 [2·B]: their labels
  private let labels: Tensor  // int64 [B + 1]: the first of them
  private let seeds: Tensor  // int64 [B]
  private let settings: Tensor  // float32 [B, 3]: guidance, top-p, top-k
  /// For each scale, int64 `[B, n]`, and where they stand; none where all are drawn.
  private let given: [(tokens: Tensor, standHere: Tensor)]
  /// What `settings` holds, as most runs ask for the same again.
  private var settingsThere: [Float] = []
  private var first: RecordedWork<(condition: FusedTransformer.Condition, step: Step)>
  private var later: [RecordedWork<Step>]
  private let memory = GraphMemory()

  private struct Step {
    let tokens: Tensor
    /// What the next scale reads, `[B, n, Cvae]`.
    let next: Tensor?
  }

  init(_ model: FusedTransformer, _ transformer: Transformer, _ quantizer: Quantizer, _ form: Form)
  {
    let device = transformer.head.weight.device
    let batch = form.batch
    (self.model, self.quantizer, self.form) = (model, quantizer, form)
    schedule = transformer.configuration.schedule
    unconditionalLabel = transformer.unconditionalLabel
    state = model.state(batch: batch)
    fusedQuantizer = FusedQuantizer(quantizer, schedule, model.kernels)
    fHat = .zeros(
      [batch, quantizer.codebook.length(1), schedule.final.height, schedule.final.width],
      device: device)
    labelsAndSeeds = .zeros([3 * batch], dtype: .int64, device: device)
    sequences = labelsAndSeeds.slice(0, 0..<2 * batch)
    labels = sequences.slice(0, 0..<batch + 1)
    seeds = labelsAndSeeds.slice(0, 2 * batch..<3 * batch)
    settings = .zeros([batch, 3], device: device)
    given =
      !form.takesGiven
      ? []
      : schedule.sizes.map {
        (
          .zeros([batch, $0.count], dtype: .int64, device: device),
          .zeros([batch, $0.count], dtype: .bool, device: device)
        )
      }
    first = RecordedWork(memory)
    later = (1..<schedule.count).map { [memory] _ in RecordedWork(memory) }
  }

  /// Sets what the pictures are; at most ``batch`` of them, the rest of the batch repeats the last.
  ///
  /// - Parameter given: Tokens that are not drawn, where the form takes some.
  func begin(
    labels: [Int], seeds: [UInt64], given: GivenTokens?, settings: [SamplingSettings]
  ) {
    func padded<T>(_ values: [T]) -> [T] {
      values + Array(repeating: values[values.count - 1], count: batch - values.count)
    }
    let bits = padded(seeds).map { Int(bitPattern: UInt($0)) }
    let unconditional = Array(repeating: unconditionalLabel, count: batch)
    labelsAndSeeds.copyInPlace(
      from: .of(padded(labels) + unconditional + bits), nonBlocking: true)
    if let given {
      for (k, place) in self.given.enumerated() {
        place.tokens.slice(0, 0..<labels.count).copyInPlace(from: given.tokens[k])
        place.standHere.slice(0, 0..<labels.count).copyInPlace(from: given.isGiven(scale: k))
      }
    }
    let numbers = padded(settings).flatMap {
      [Float($0.guidance), Float($0.topP), Float($0.topK)]
    }
    guard numbers != settingsThere else { return }
    settingsThere = numbers
    self.settings.copyInPlace(from: .of(numbers, shape: [batch, 3]), nonBlocking: true)
  }

  /// Scales have to be asked for in their order.
  ///
  /// - Returns: int64 `[B, n]` and float32 `[B, Cvae, h, w]`, which the next run overwrites.
  func scale(_ k: Int) throws -> (tokens: Tensor, fHat: Tensor) {
    let step: Step
    if k == 0 {
      step = try first.run {
        let (condition, logits) = model.begin(labels: labels, sequences: sequences, state: state)
        return (condition, try draw(0, logits))
      }.step
    } else {
      let (condition, firstStep) = first.result!
      let before = k == 1 ? firstStep : later[k - 2].result!
      step = try later[k - 1].run {
        let x = model.input(before.next!, scale: k)
        return try draw(k, model.step(x, scale: k, condition: condition, state: state.blocks))
      }
    }
    return (step.tokens, fHat)
  }

  /// - Parameter logits: before guidance, `[2·B, n, V]`.
  private func draw(_ k: Int, _ logits: Tensor) throws -> Step {
    let drawn = try model.kernels.drawTokens(
      logits, seeds: seeds, settings: settings, progress: Sampler.progress(k, schedule),
      domain: TokenDraw.domain(scale: k), spoiling: fHat)
    let tokens =
      given.isEmpty ? drawn : given[k].standHere.choosing(given[k].tokens, else: drawn)
    return Step(tokens: tokens, next: try add(tokens, scale: k))
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
  /// Whether memory did not suffice for a recording. What is not recorded by then never is, as it may follow work whose results
  /// are elsewhere after each run.
  var isExhausted = false
}

/// Work that is done once as it is, then recorded, then replayed. What fails counts as not done; where there is no memory for a
/// recording, work is done as it is every time.
struct RecordedWork<Result> {
  private let memory: GraphMemory
  private var graph: CUDAGraph?
  /// What the last run gave; replays write to the same tensors.
  private(set) var result: Result?

  init(_ memory: GraphMemory) { self.memory = memory }

  mutating func run(_ body: () throws -> Result) throws -> Result {
    if result != nil, graph == nil, !memory.isExhausted { try record(body) }
    if let graph {
      try graph.replay()
    } else {
      result = try withTorchErrors(body)
    }
    return result!
  }

  private mutating func record(_ body: () throws -> Result) throws {
    do {
      let recording = try CUDAGraph.recording(sharingMemoryWith: memory.owner, body)
      if memory.owner == nil { memory.owner = recording.graph }
      (graph, result) = (recording.graph, recording.result)
    } catch let error as TorchError where error.kind == .outOfMemory {
      memory.isExhausted = true
    }
  }
}
