import Foundation
import MVAR
import Pictures
import Torch

/// What a tokenizer's run does that decides about nothing but speed and about where things go.
public struct TokenizerTrainingOptions: Sendable {
  /// The run's folder.
  public var out: String
  public var compute = ComputeOptions()
  /// Whether to go on with the run in the folder.
  public var resumes = false
  /// Threads that decode pictures; nil for one a core.
  public var workers: Int?
  /// The share of pictures that may be unreadable.
  public var toleratedShare = 0.01
  /// Steps between lines of the log.
  public var logEvery = 10
  /// Steps between checkpoints; nil for an epoch, but not below 100 steps.
  public var saveEvery: Int?
  /// Steps between grids of reconstructions, and measurements on held-out pictures; nil as ``saveEvery``.
  public var showEvery: Int?
  /// Checkpoints that stay.
  public var keep = 2

  public init(out: String) { self.out = out }
}

/// What happens in a tokenizer's run, as it happens.
public enum TokenizerTrainingEvent: Sendable {
  /// A run begins, or goes on at a step.
  case started(step: Int, of: Int, parameters: Int)
  /// One step was made; the numbers are there where it is logged.
  case step(Int, of: Int, [String: Double]?)
  case validated([String: Double], step: Int)
  case saved(RunFolder.SavedStep)
  /// What somebody should know.
  case note(String)
}

/// Trains a tokenizer on pictures.
///
/// Everything but the decoding of pictures lives on one thread of its own.
public actor TokenizerTraining {
  private let executor = TensorExecutor(name: "TokenizerTraining")
  public nonisolated var unownedExecutor: UnownedSerialExecutor {
    executor.asUnownedSerialExecutor()
  }

  public init() {}

  /// Whether the run's folder has what `resumes` says; for a look before long work, and before the
  /// folder is made.
  ///
  /// - Throws: ``TrainingError`` where a run is there and is not gone on with, or the other way round.
  public static func check(_ options: TokenizerTrainingOptions) throws(TrainingError) {
    try RunFolder.check(options.out, resumes: options.resumes)
  }

  /// The settings of the run in a folder; nil where there is none.
  ///
  /// - Throws: ``TrainingError`` where its last checkpoint cannot be read.
  public static func settings(in folder: String) throws(TrainingError) -> TokenizerTrainingSettings?
  {
    guard let saved = RunFolder.saved(in: folder).last else { return nil }
    return try TokenizerRunState(checkpoint: saved.path).settings
  }

  private static func compute(_ options: TokenizerTrainingOptions) throws(TrainingError)
    -> ComputeOptions
  {
    try options.compute.ofRun(goesOn: options.resumes) { () throws(TrainingError) in
      try settings(in: options.out)?.dtype
    }
  }

  /// Begins a run or goes on with it, to its end.
  ///
  /// Cancelling the task saves a checkpoint after the step that is under way.
  ///
  /// - Parameters:
  ///   - data: Pictures to learn from; labels do not matter.
  ///   - heldOut: Pictures to measure on; nil for none.
  ///   - change: Changes defaults, or what the run has.
  ///   - perceptual: Makes the perceptual network that ``TokenizerTrainingSettings/perceptual`` names, in
  ///     the run's precision on its device, where its loss has a weight; nil for none.
  ///   - events: Called on the trainer's thread.
  /// - Returns: The path of the finished tokenizer.
  /// - Throws: ``TrainingError``, `MVARError`, `TorchError`, errors of files, and `CancellationError`
  ///   once saved.
  public func run(
    _ options: TokenizerTrainingOptions, data: PictureDataSet, heldOut: PictureDataSet? = nil,
    settings change: @Sendable (inout TokenizerTrainingSettings) throws -> Void,
    perceptual: @Sendable (String?, DType, Device) throws -> (any PerceptualNetwork)? = { _, _, _ in
      nil
    },
    events: @escaping @Sendable (TokenizerTrainingEvent) -> Void
  ) throws -> String {
    let compute = try Self.compute(options).resolve()
    Device.setThreadCount(compute.threads)
    let run = try TokenizerRun(options, data, heldOut, change, perceptual, compute, events)
    return try run.toEnd()
  }
}

private typealias PerceptualNetworkMaker = (String?, DType, Device) throws -> (
  any PerceptualNetwork
)?

/// One run, on the trainer's thread.
private final class TokenizerRun {
  private let options: TokenizerTrainingOptions
  private let settings: TokenizerTrainingSettings
  private let events: (TokenizerTrainingEvent) -> Void
  private let folder: RunFolder
  private let batches: PictureBatches
  private let contents: String
  private let learner: TokenizerLearner
  private let log: JSONLinesLog
  private let board: TensorBoardLog
  /// `[B, 3, S, S]` each.
  private let heldOut: [Tensor]
  private let shown: Tensor
  private let steps: Int
  private let device: Device
  private var lastSaved: Int?
  private var told = 0
  private var toldOfSmallOnes = false
  private var start = ContinuousClock.now
  private var made = 0
  private var waited = 0.0

  init(
    _ options: TokenizerTrainingOptions, _ data: PictureDataSet, _ heldOut: PictureDataSet?,
    _ change: (inout TokenizerTrainingSettings) throws -> Void,
    _ perceptual: PerceptualNetworkMaker,
    _ compute: ComputeOptions.Resolved,
    _ events: @escaping (TokenizerTrainingEvent) -> Void
  ) throws {
    self.options = options
    self.events = events
    device = compute.device
    try TokenizerTraining.check(options)
    folder = try RunFolder(options.out)
    let saved = folder.saved.last
    let state = try Self.state(of: saved, options)
    settings = try Self.settings(state, dtype: compute.precision, change, events)
    contents = data.contentDigest
    if let state, state.contents != contents {
      throw TrainingError(
        .resume,
        "the run in \(options.out) began with other pictures than those of \(data.path); name the same "
          + "data, or choose another --out")
    }
    var reading = PictureBatches.Settings(
      recipe: settings.recipe, batch: settings.batch, seed: settings.seed)
    reading.workers = options.workers ?? reading.workers
    reading.toleratedShare = options.toleratedShare
    reading.apart = heldOut?.count ?? 0
    batches = try PictureBatches(data, reading, from: state?.position ?? .start)
    steps = settings.steps ?? settings.epochs * batches.steps
    func weights(_ name: String) throws -> (any ParameterSource)? {
      try saved.map {
        let file = try Checkpoint("\($0.path)/\(name).safetensors")
        let tensors = file.tensors.filter { $0.name != "quantize.ema_vocab_hit_SV" }
        return CheckpointSource(file: file.file, tensors: tensors)
      }
    }
    learner = try TokenizerLearner(
      settings, initial: weights("tokenizer"),
      adversary: settings.adversarialWeight > 0 ? weights("adversary") : nil,
      perceptual: Self.network(perceptual, settings, compute),
      precision: compute.dtype, device: compute.device, steps: steps)
    if let saved, let state {
      try learner.restore(state, from: saved.path)
      lastSaved = saved.step
    }
    self.heldOut = try Self.heldOut(heldOut, apart: data.count, settings, options, compute.device)
    shown =
      try self.heldOut.first.map { $0.slice(0, 0..<min($0.length(0), 8)) }
      ?? Self.heldOut(
        data, apart: heldOut?.count ?? 0, settings, options, compute.device, count: 8)[0]
    log = try JSONLinesLog(folder.logPath)
    board = try TensorBoardLog(folder: options.out)
    for log in [log, board] as [any TrainingLog] { try log.rewind(to: learner.stepCount) }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    let text = String(decoding: try encoder.encode(settings), as: UTF8.self)
    try board.record(text: "```json\n\(text)\n```", name: "settings", step: learner.stepCount + 1)
  }

  private static func state(
    of saved: RunFolder.SavedStep?, _ options: TokenizerTrainingOptions
  ) throws(TrainingError) -> TokenizerRunState? {
    // Again: only now no other process can be training in the folder.
    try TokenizerTraining.check(options)
    return try saved.map { saved throws(TrainingError) in
      try TokenizerRunState(checkpoint: saved.path)
    }
  }

  /// The run's settings with changes; of a run that goes on only its length may change.
  private static func settings(
    _ state: TokenizerRunState?, dtype: ComputeOptions.Precision,
    _ change: (inout TokenizerTrainingSettings) throws -> Void,
    _ events: (TokenizerTrainingEvent) -> Void
  ) throws -> TokenizerTrainingSettings {
    var settings = state?.settings ?? TokenizerTrainingSettings()
    try change(&settings)
    settings.dtype = dtype
    try settings.validate()
    guard var run = state?.settings else { return settings }
    run.adoptUnkept(from: settings)
    // Files may have moved since.
    if TokenizerTrainingSettings.isSameNetwork(settings.perceptual, run.perceptual) {
      run.perceptual = settings.perceptual
    }
    guard run != settings else { return settings }
    var sameLength = settings
    (sameLength.epochs, sameLength.steps) = (run.epochs, run.steps)
    let differences = settingDifferences(sameLength, from: run)
    guard differences.isEmpty else {
      throw TrainingError(
        .resume,
        "the run in this folder has other settings: "
          + "\(differences.joined(separator: "; ")); leave those out, or choose another --out")
    }
    events(
      .note(
        "the run's length changes, and its schedule with it: "
          + settingDifferences(settings, from: run).joined(separator: "; ")))
    return settings
  }

  /// The perceptual network, which must be able to see pictures of the run's size.
  private static func network(
    _ make: PerceptualNetworkMaker, _ settings: TokenizerTrainingSettings,
    _ compute: ComputeOptions.Resolved
  ) throws -> (any PerceptualNetwork)? {
    guard settings.perceptualWeight > 0,
      let network = try make(settings.perceptual, compute.dtype, compute.device)
    else { return nil }
    guard settings.resolution >= network.smallestSide else {
      throw TrainingError(
        .setting,
        "resolution is \(settings.resolution), and the perceptual network sees pictures of "
          + "\(network.smallestSide) pixels and more; use that, or another --perceptual")
    }
    return network
  }

  /// Pictures to look at and to measure on, prepared without chance.
  private static func heldOut(
    _ data: PictureDataSet?, apart: Int, _ settings: TokenizerTrainingSettings,
    _ options: TokenizerTrainingOptions, _ device: Device, count: Int = 256
  ) throws -> [Tensor] {
    guard let data else { return [] }
    let count = min(count, data.count)
    let batch = min(settings.batch, count)
    var reading = PictureBatches.Settings(
      recipe: settings.recipe.withoutChance, batch: batch, seed: settings.seed)
    (reading.toleratedShare, reading.apart) = (options.toleratedShare, apart)
    let batches = try PictureBatches(data, reading)
    return try (0..<count / batch).map { _ in try batches.next().images(device: device) }
  }

  // MARK: The loop

  func toEnd() throws -> String {
    let parameters = learner.weights.tensors.reduce(0) { $0 + $1.count }
    events(.started(step: learner.stepCount, of: steps, parameters: parameters))
    while learner.stepCount < steps {
      do { try step() } catch let cancellation as CancellationError {
        if learner.stepCount > 0 { try save() }
        throw cancellation
      }
      let count = learner.stepCount
      if isDue(options.showEvery, count) { try show() }
      if isDue(options.saveEvery, count) { try save() }
      if Task.isCancelled {
        try save()
        throw CancellationError()
      }
    }
    try save()
    let path = options.out + "/tokenizer.safetensors"
    try learner.exportTokenizer(to: path)
    return path
  }

  private func isDue(_ every: Int?, _ step: Int) -> Bool {
    let every = every ?? options.saveEvery ?? max(batches.steps, 100)
    return every > 0 && (step % every == 0 || step == steps)
  }

  private func step() throws {
    let count = learner.stepCount + 1
    let isLogged = count % options.logEvery == 0 || count == 1 || count == steps
    let asked = ContinuousClock.now
    let batch = try batches.next()
    waited += asked.duration(to: .now).seconds
    let rate = learner.rate
    let measures = try learner.step(batch.images(device: device), measures: isLogged)
    if device == .cpu || isLogged { try checkHealth() }
    made += batch.indices.count
    guard let measures else { return events(.step(count, of: steps, nil)) }
    var numbers = try measures.mapValues { try $0.item() }
    let time = max(start.duration(to: .now).seconds, 1e-9)
    numbers["schedule/rate"] = rate
    numbers["speed/images_per_second"] = Double(made) / time
    numbers["speed/waiting_for_data"] = waited / time
    (start, made, waited) = (.now, 0, 0)
    for log in [log, board] as [any TrainingLog] { try log.record(numbers, step: count) }
    tellOfPictures()
    events(.step(count, of: steps, numbers))
  }

  private func tellOfPictures() {
    let report = batches.report
    for picture in report.unreadable.dropFirst(told) {
      events(.note("\(picture.reason); another picture stands in for it"))
    }
    told = report.unreadable.count
    if report.enlarged > 0, !toldOfSmallOnes {
      toldOfSmallOnes = true
      events(
        .note(
          "\(report.enlarged) of the first \(report.made) pictures are smaller than "
            + "\(settings.resolution) pixels and are enlarged"))
    }
  }

  private func checkHealth() throws {
    do { try learner.checkHealth() } catch let error as TrainingError {
      try? log.flush()
      let kept = lastSaved.map { "the checkpoint of step \($0) is good" } ?? "nothing was saved yet"
      throw TrainingError(
        error.kind, "\(error.description); \(kept): use a lower --rate, or look at the data")
    }
  }

  /// Measures on held-out pictures and draws some: originals above what comes back of them.
  private func show() throws {
    let step = learner.stepCount
    let numbers = try learner.evaluate(heldOut)
    if !heldOut.isEmpty {
      for log in [log, board] as [any TrainingLog] { try log.record(numbers, step: step) }
      events(.validated(numbers, step: step))
    }
    let rows = [shown] + (try learner.reconstruct(shown, everyScale: true)).suffix(4)
    let pictures = try rows.flatMap { try $0.grid() }
    let grid = try PictureGrid(columns: shown.length(0)).tiled(pictures)
    let folder = options.out + "/reconstructions"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    let digits = String(repeating: "0", count: max(7 - "\(step)".count, 0)) + "\(step)"
    try grid.write(to: "\(folder)/step-\(digits).png")
    try board.record(grid, name: "reconstructions", step: step)
  }

  private func save() throws {
    let step = learner.stepCount
    guard lastSaved != step else { return }
    try checkHealth()
    let state = TokenizerRunState(
      settings: settings, step: step, position: batches.position, contents: contents)
    do {
      try log.flush()
      try board.flush()
      let saved = try folder.save(step: step, keeping: options.keep) {
        try learner.save(state, in: $0)
      }
      lastSaved = step
      events(.saved(saved))
    } catch {
      let kept = lastSaved.map { "the checkpoint of step \($0) is untouched; go on with --resume" }
      throw TrainingError(
        .file, "step \(step) was not saved: \(error)" + (kept.map { "; \($0)" } ?? ""))
    }
  }
}

extension PictureBatch {
  /// Pixels in [−1, 1], `[B, 3, S, S]` float32.
  func images(device: Device) -> Tensor {
    Tensor.of(pixels, shape: [labels.count, side, side, 3]).to(device)
      .to(.float32).permute(0, 3, 1, 2).contiguous() * (1 / 127.5) - 1
  }
}

extension Tensor {
  /// Pixels in [−1, 1] `[B, 3, H, W]` as pictures.
  func grid() throws -> [Picture] {
    let (B, _, H, W) = shape4
    let bytes = try ((self * 0.5 + 0.5) * 255).clamped(0, 255).to(.uint8).permute(0, 2, 3, 1)
      .contiguous().elements(as: UInt8.self)
    return (0..<B).map { index in
      let count = H * W * 3
      return Picture(
        width: W, height: H, pixels: Array(bytes[index * count..<(index + 1) * count]))
    }
  }
}

/// The settings that differ from a run's, each as "rate is 0.0002, not 0.0004" under the name of its flag.
func settingDifferences<Settings: Encodable>(_ settings: Settings, from run: Settings) -> [String] {
  func flattened(_ settings: Settings) -> [String: String] {
    guard let data = try? JSONEncoder().encode(settings),
      let object = try? JSONSerialization.jsonObject(with: data) as? [String: Any]
    else { return [:] }
    var texts: [String: String] = [:]
    func add(_ object: [String: Any]) {
      for (name, value) in object {
        if let inner = value as? [String: Any] {
          add(inner)
        } else {
          let flag = name.map { $0.isUppercase ? "-\($0.lowercased())" : "\($0)" }.joined()
          texts[flag] = "\(value)"
        }
      }
    }
    add(object)
    return texts
  }
  let (ours, theirs) = (flattened(settings), flattened(run))
  return Set(ours.keys).union(theirs.keys).sorted().filter { ours[$0] != theirs[$0] }
    .map { "\($0) is \(theirs[$0] ?? "by default"), not \(ours[$0] ?? "by default")" }
}
