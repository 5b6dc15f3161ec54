import Foundation
import MVAR
import Torch

/// What a run does that decides about nothing but speed and about where things go.
public struct ModelTrainingOptions: Sendable {
  /// The run's folder.
  public var out: String
  /// The tokenizer's checkpoint.
  public var tokenizer: String
  public var compute = ComputeOptions()
  /// Whether to go on with the run in the folder.
  public var resumes = false
  /// Steps between lines of the log.
  public var logEvery = 10
  /// Steps between checkpoints; nil for an epoch.
  public var saveEvery: Int?
  /// Steps between validations; nil for an epoch, 0 for none.
  public var validateEvery: Int?
  /// Steps between sheets of samples; 0 for none.
  public var sampleEvery = 0
  /// Pictures of a sheet.
  public var samples = 16
  /// Checkpoints that stay.
  public var keep = 2
  /// Whether blocks are computed again in the backward pass, to save memory.
  public var recomputes = false
  /// Whether each of several processes keeps the optimiser's state, and the average, of its part of
  /// the weights alone. The numbers are the same either way.
  public var sharesOptimizer = true
  /// Which of several processes this one is; nil for the only one.
  public var place: ProcessPlace?

  public init(out: String, tokenizer: String) { (self.out, self.tokenizer) = (out, tokenizer) }
}

/// What a model learns from.
public struct TrainingData {
  public var batches: any TokenBatches
  /// Held out.
  public var validation: [TokenBatch]
  /// By label.
  public var classNames: [String]?

  public init(
    _ batches: any TokenBatches, validation: [TokenBatch] = [], classNames: [String]? = nil
  ) {
    (self.batches, self.validation, self.classNames) = (batches, validation, classNames)
  }
}

/// What happens in a run, as it happens.
public enum TrainingEvent: Sendable {
  /// A run begins, or goes on at a step.
  case started(step: Int, of: Int, parameters: Int)
  case step(TrainingReport)
  case validated(ScaleMeasures, step: Int)
  case saved(RunFolder.SavedStep)
  /// What somebody should know.
  case note(String)
}

/// The numbers of one step.
public struct TrainingReport: Sendable {
  /// Steps made, of all.
  public let step: Int
  public let steps: Int
  /// Nil except at the steps that are logged.
  public let measures: ScaleMeasures?
  public let gradientNorm: Double?
  public let picturesPerSecond: Double?
}

/// Trains a model on tokens.
///
/// Everything lives on one thread of its own.
public actor ModelTraining {
  private let executor = TensorExecutor(name: "ModelTraining")
  public nonisolated var unownedExecutor: UnownedSerialExecutor {
    executor.asUnownedSerialExecutor()
  }

  public init() {}

  /// Whether the run's folder has what `resumes` says; for a look before long work.
  ///
  /// - Throws: ``TrainingError`` where a run is there and is not gone on with, or the other way round.
  public static func check(_ options: ModelTrainingOptions) throws(TrainingError) {
    try RunFolder.check(options.out, resumes: options.resumes)
  }

  private static func compute(_ options: ModelTrainingOptions) throws(TrainingError)
    -> ComputeOptions
  {
    try options.compute.ofRun(goesOn: options.resumes) { () throws(TrainingError) in
      guard let saved = RunFolder.saved(in: options.out).last else { return nil }
      return try RunState(checkpoint: saved.path).settings.dtype
    }
  }

  /// Begins a run or goes on with it, to its end.
  ///
  /// Cancelling the task saves a checkpoint after the step that is under way.
  ///
  /// - Parameters:
  ///   - settings: Changes defaults, or what the run has.
  ///   - data: Opens the data for these settings, called on the trainer's thread.
  ///   - events: Called on the trainer's thread.
  /// - Returns: The path of the finished model.
  /// - Throws: ``TrainingError``, `MVARError`, `TorchError`, errors of the data and of files, and
  ///   `CancellationError` once saved.
  public func run(
    _ options: ModelTrainingOptions,
    settings change: @Sendable (inout ModelTrainingSettings) throws -> Void,
    data: @Sendable (ModelTrainingSettings, TokenizerConfiguration) throws -> TrainingData,
    events: @escaping @Sendable (TrainingEvent) -> Void
  ) throws -> String {
    let compute = try Self.compute(options).resolve()
    Device.setThreadCount(compute.threads)
    let run = try ModelRun(options, change, data, compute, events)
    return try run.toEnd()
  }
}

/// One run, on the trainer's thread.
private final class ModelRun {
  private let options: ModelTrainingOptions
  private let settings: ModelTrainingSettings
  private let events: (TrainingEvent) -> Void
  /// Nil except in the first of several processes, which alone writes.
  private let folder: RunFolder?
  private let data: TrainingData
  private let learner: ModelLearner
  private let log: JSONLinesLog?
  private let board: TensorBoardLog?
  private let others: DataParallel?
  private let steps: Int
  private let isOnCPU: Bool
  private var lastSaved: Int?
  private var speed = SpeedMeter()
  private let cost: TrainingCost
  /// Operations a second of the GPU; nil where it is not known, and on a CPU.
  private let peak: Double?

  init(
    _ options: ModelTrainingOptions, _ change: (inout ModelTrainingSettings) throws -> Void,
    _ open: (ModelTrainingSettings, TokenizerConfiguration) throws -> TrainingData,
    _ compute: ComputeOptions.Resolved, _ events: @escaping (TrainingEvent) -> Void
  ) throws {
    self.options = options
    self.events = events
    try ModelTraining.check(options)
    others = try options.place.map { try DataParallel($0, device: compute.device) }
    let isFirst = others.map { $0.rank == 0 } ?? true
    folder = isFirst ? try RunFolder(options.out) : nil
    try others?.barrier()
    let saved = RunFolder.saved(in: options.out).last
    let state = try Self.state(of: saved, options)
    settings = try Self.settings(state, dtype: compute.precision, change, events)
    try Self.check(settings, processes: others?.ranks ?? 1)
    let file = try Checkpoint(options.tokenizer)
    let tokenizerShape = try file.tokenizerConfiguration()
    data = try open(settings, tokenizerShape)
    try Self.check(data, state, tokenizerShape, options)
    let configuration = settings.configuration(
      classes: data.batches.classes, schedule: data.batches.schedule, tokenizer: tokenizerShape)
    steps = settings.steps ?? settings.epochs * data.batches.batchesPerEpoch
    let initial: any ParameterSource =
      try saved.map { try Checkpoint($0.path + "/model.safetensors").source(.transformer) }
      ?? Initialization(configuration, settings: settings.initialization, seed: settings.seed)
    learner = try ModelLearner(
      settings, configuration: configuration, initial: initial,
      tokenizer: .load(file, device: compute.device, encodes: false), precision: compute.dtype,
      device: compute.device, steps: steps, stepsPerEpoch: data.batches.batchesPerEpoch,
      recomputes: options.recomputes, fused: compute.fused, reducer: others,
      sharesOptimizer: options.sharesOptimizer)
    isOnCPU = compute.device == .cpu
    cost = TrainingCost(configuration)
    peak = isOnCPU ? nil : (try? CUDA.properties()).flatMap { TrainingCost.peak(gpu: $0.name) }
    log = try folder.map { try JSONLinesLog($0.logPath) }
    if let saved, let state {
      try learner.restore(state, from: saved.path)
      try data.batches.seek(to: state.position)
      lastSaved = saved.step
    }
    board = try folder.map { try TensorBoardLog(folder: $0.path) }
    for log in logs { try log.rewind(to: learner.stepCount) }
  }

  private static func state(
    of saved: RunFolder.SavedStep?, _ options: ModelTrainingOptions
  ) throws(TrainingError) -> RunState? {
    try ModelTraining.check(options)
    return try saved.map { saved throws(TrainingError) in try RunState(checkpoint: saved.path) }
  }

  /// Whether all processes get as many pictures in each of their micro-batches.
  private static func check(
    _ settings: ModelTrainingSettings, processes: Int
  ) throws(TrainingError) {
    guard settings.batch % (processes * settings.accumulation) == 0 else {
      throw TrainingError(
        .setting,
        "batch is \(settings.batch), which \(processes) processes with \(settings.accumulation) "
          + "micro-batches each cannot share; use a multiple of \(processes * settings.accumulation)"
      )
    }
  }

  /// The run's settings with changes; of a run that goes on only its length and its micro-batches may
  /// change.
  private static func settings(
    _ state: RunState?, dtype: ComputeOptions.Precision,
    _ change: (inout ModelTrainingSettings) throws -> Void, _ events: (TrainingEvent) -> Void
  ) throws -> ModelTrainingSettings {
    var settings = state?.settings ?? ModelTrainingSettings()
    try change(&settings)
    settings.dtype = dtype
    try settings.validate()
    guard var run = state?.settings else { return settings }
    run.adoptUnkept(from: settings)
    guard run != settings else { return settings }
    var sameLength = settings
    (sameLength.epochs, sameLength.steps) = (run.epochs, run.steps)
    sameLength.accumulation = run.accumulation
    let differences = sameLength.differences(from: run)
    guard differences.isEmpty else {
      throw TrainingError(
        .resume,
        "the run in this folder has other settings: "
          + "\(differences.joined(separator: "; ")); leave those out, or choose another --out")
    }
    let changes = settings.differences(from: run).joined(separator: "; ")
    let isLonger = (settings.epochs, settings.steps) != (run.epochs, run.steps)
    events(
      .note(
        isLonger
          ? "the run's length changes, and its schedule with it: \(changes)"
          : "sums are rounded in another order from here: \(changes)"))
    return settings
  }

  /// Whether data, tokenizer and run belong together.
  private static func check(
    _ data: TrainingData, _ state: RunState?, _ tokenizer: TokenizerConfiguration,
    _ options: ModelTrainingOptions
  ) throws(TrainingError) {
    let schedule = data.batches.schedule
    if case .none(let phis) = tokenizer.phi, phis != schedule.count {
      throw TrainingError(
        .data,
        "\(options.tokenizer) has \(phis) scales and the data \(schedule.count); name the "
          + "tokenizer that made the tokens")
    }
    guard let state else { return }
    if state.scales != schedule.description || state.classes != data.batches.classes {
      throw TrainingError(
        .resume,
        "the run learns \(state.classes) classes at the scales \(state.scales), and the "
          + "data has \(data.batches.classes) at \(schedule); name the data that it began with")
    }
  }

  // MARK: The loop

  func toEnd() throws -> String {
    let parameters = learner.weights.tensors.reduce(0) { $0 + $1.count }
    events(.started(step: learner.stepCount, of: steps, parameters: parameters))
    while learner.stepCount < steps {
      try step()
      let count = learner.stepCount
      if isDue(options.validateEvery, count) { try validate() }
      if options.sampleEvery > 0, isDue(options.sampleEvery, count) { try sample() }
      if isDue(options.saveEvery, count) { try save() }
      if try isStopped() {
        try save()
        throw CancellationError()
      }
    }
    try save()
    let path = options.out + "/model.safetensors"
    let average = try learner.gatheredAverage()
    try first { try learner.exportModel(average, to: path, classNames: data.classNames) }
    try others?.barrier()
    return path
  }

  /// What the first process does alone while others wait.
  private func first(_ body: () throws -> Void) throws {
    if let others { try others.first(body) } else { try body() }
  }

  private var logs: [any TrainingLog] {
    let all: [(any TrainingLog)?] = [log, board]
    return all.compactMap { $0 }
  }

  private func record(_ scalars: [String: Double], step: Int) throws {
    for log in logs { try log.record(scalars, step: step) }
  }

  /// Whether this process or another one was asked to stop, so that all stop after the same step.
  private func isStopped() throws -> Bool {
    try others?.any(Task.isCancelled) ?? Task.isCancelled
  }

  /// Whether something that is done every so often is done now; without a number, every epoch.
  private func isDue(_ every: Int?, _ step: Int) -> Bool {
    let every = every ?? data.batches.batchesPerEpoch
    return every > 0 && (step % every == 0 || step == steps)
  }

  private func step() throws {
    let count = learner.stepCount + 1
    let isLogged = count % options.logEvery == 0 || count == 1 || count == steps
    let rates = learner.rates
    let waited = ContinuousClock.now
    let batch = try data.batches.next()
    speed.wait(since: waited)
    let measured = try learner.step(batch, measures: isLogged)
    if isOnCPU || isLogged { try checkHealth() }
    speed.made(pictures: batch.labels.count)
    guard let measured else {
      return events(
        .step(
          TrainingReport(
            step: count, steps: steps, measures: nil, gradientNorm: nil, picturesPerSecond: nil)))
    }
    let measures = try ScaleMeasures(measured.perScale, learner.configuration.schedule)
    let norm = try measured.gradientNorm.item()
    var scalars = measures.scalars("train")
    scalars["train/gradient_norm"] = norm
    scalars["train/scales"] = Double(measured.scales)
    scalars["schedule/rate"] = rates.rate
    scalars["schedule/weight_decay"] = rates.weightDecay
    for (index, share) in try measured.usage.elements(as: Double.self).enumerated() {
      scalars["train/usage/scale\(index + 1)"] = share
    }
    scalars.merge(machineScalars()) { $1 }
    try record(scalars, step: count)
    events(
      .step(
        TrainingReport(
          step: count, steps: steps, measures: measures, gradientNorm: norm,
          picturesPerSecond: scalars["speed/images_per_second"])))
  }

  /// Speed and, on a GPU, the share of its peak and its memory.
  private func machineScalars() -> [String: Double] {
    var scalars = speed.scalars()
    if !isOnCPU, let peak {
      let share = (scalars["speed/images_per_second"] ?? 0) * cost.operationsPerPicture / peak
      scalars["speed/model_flop_utilisation"] = share / Double(others?.ranks ?? 1)
    }
    if !isOnCPU, let bytes = try? CUDA.peakMemory() {
      scalars["memory/peak_gib"] = Double(bytes) / Double(1 << 30)
    }
    return scalars
  }

  private func sample() throws {
    let average = try learner.gatheredAverage()
    try first {
      let path = "\(options.out)/samples/step-\(learner.stepCount).png"
      let sheet = try learner.writeSamples(options.samples, average: average, to: path)
      try board?.record(sheet, name: "samples", step: learner.stepCount)
      events(.note("step \(learner.stepCount): samples in \(path)"))
    }
  }

  private func checkHealth() throws {
    let health = Result { try learner.checkHealth() }
    // Of a GPU that gave up waiting for another process the numbers mean nothing.
    try others?.check()
    do { try health.get() } catch let error as TrainingError {
      for log in logs { try? log.flush() }
      let kept = lastSaved.map { "the checkpoint of step \($0) is good" } ?? "nothing was saved yet"
      throw TrainingError(
        error.kind, "\(error.description); \(kept): use a lower --base-rate, or look at the data")
    }
  }

  private func validate() throws {
    guard !data.validation.isEmpty else { return }
    let average = try learner.gatheredAverage()
    try first {
      let last = try learner.evaluate(data.validation)
      var scalars = last.scalars("validation")
      if let average {
        scalars.merge(
          try learner.evaluate(data.validation, average: average).scalars("validation_average")
        ) { $1 }
      }
      try record(scalars, step: learner.stepCount)
      events(.validated(last, step: learner.stepCount))
    }
  }

  private func save() throws {
    let step = learner.stepCount
    guard lastSaved != step else { return }
    try checkHealth()
    let (average, optimizer) = (try learner.gatheredAverage(), try learner.gatheredOptimizer())
    try first { try write(average, optimizer, step: step) }
    lastSaved = step
  }

  private func write(
    _ average: [Tensor]?, _ optimizer: [(name: String, tensor: Tensor)], step: Int
  ) throws {
    guard let folder else { preconditionFailure("only the first process writes") }
    let state = RunState(
      settings: settings, step: step, position: data.batches.position,
      scales: data.batches.schedule.description, classes: data.batches.classes,
      classNames: data.classNames)
    do {
      for log in logs { try log.flush() }
      let saved = try folder.save(step: step, keeping: options.keep) {
        try learner.save(state, average: average, optimizer: optimizer, in: $0)
      }
      events(.saved(saved))
    } catch {
      let kept = lastSaved.map { "the checkpoint of step \($0) is untouched; go on with --resume" }
      throw TrainingError(
        .file, "step \(step) was not saved: \(error)" + (kept.map { "; \($0)" } ?? ""))
    }
  }
}

/// Pictures a second, and the share of the time spent waiting for them, since the last line of the log.
private struct SpeedMeter {
  private var start = ContinuousClock.now
  private var waited = Duration.zero
  private var pictures = 0

  mutating func wait(since instant: ContinuousClock.Instant) {
    waited += instant.duration(to: .now)
  }

  mutating func made(pictures: Int) { self.pictures += pictures }

  mutating func scalars() -> [String: Double] {
    let time = start.duration(to: .now) / .seconds(1)
    defer { self = SpeedMeter() }
    return [
      "speed/images_per_second": Double(pictures) / max(time, 1e-9),
      "speed/waiting_for_data": waited / .seconds(1) / max(time, 1e-9),
    ]
  }
}
