import ArgumentParser
import MVAR
import MVARTraining
import Synchronization

/// How pictures become the tokens that a model trains on.
struct ModelDataFlags: ParsableArguments {
  @OptionGroup var pictures: PictureDataFlags
  @OptionGroup var preparation: PreparationFlags

  @Option(
    help:
      "256px, 512px or sizes such as 1,2,3,5,6. (default: those of the tokenizer's run, or 256px)",
    transform: Scales.parse)
  var scales: ScaleSchedule?

  @Option(
    parsing: .unconditional,
    help: "How many times each picture is augmented and turned into tokens, once for all epochs.")
  var versions = 4

  @Option(
    parsing: .unconditional,
    help:
      "The largest share of wrong codes in what the model reads of a picture, while it learns the right ones. Models of few pictures draw better for 0.2."
  )
  var wrongCodes = 0.0

  @Option(
    help: "A folder for the tokens, which several runs may share. (default: tokens/ of the run)")
  var cache: String?

  @Option(
    parsing: .unconditional,
    help:
      "0 takes every picture once an epoch, 1 all classes as often; 0.5 lies between. (default: 0)")
  var balance: Double?

  func validate() throws {
    try checkPositive(versions, "versions", atMost: 100_000)
    guard (0...1).contains(wrongCodes) else {
      throw ValidationError("wrong-codes is \(wrongCodes); use 0 to 1")
    }
    if let balance, !(0...1).contains(balance) {
      throw ValidationError("balance is \(balance); use 0 to 1")
    }
  }

  /// Whether the data is a file of tokens.
  var isTokenFile: Bool {
    pictures.data.hasSuffix(".safetensors") && !Files.isFolder(pictures.data)
  }

  /// What is given, or what the run has, or the defaults, which the run keeps then.
  func apply(to settings: inout ModelTrainingSettings) {
    settings.balance = balance ?? settings.balance ?? 0
    settings.split = pictures.split ?? settings.split
    settings.heldOutSplit = pictures.heldOutSplit ?? settings.heldOutSplit
    let share = isTokenFile ? 0 : PictureDataFlags.usualShare
    settings.holdOut = pictures.holdOut ?? settings.holdOut ?? share
  }
}

/// Opens a model's data, after turning pictures into tokens where that was not done before.
struct ModelData: Sendable {
  let flags: ModelDataFlags
  let out: String
  let tokenizer: String
  let compute: ComputeOptions
  /// Those of the run.
  let settings: ModelTrainingSettings
  /// Whether tokens that a run began with serve it whatever the other flags say.
  let resumes: Bool
  /// Whether this process makes what is missing; others wait for it.
  let makes: Bool

  private var cache: String { flags.cache ?? Files.join(out, "tokens") }

  func source(_ console: Console) async throws -> TokenSource {
    let configuration = try Checkpoint(tokenizer).tokenizerConfiguration()
    let data = flags.pictures.data
    if flags.isTokenFile {
      return try .file(
        data, holdingOut: settings.holdOut ?? 0, vocabulary: configuration.vocabulary)
    }
    if TokenSource.holdsCaches(data) {
      return try .caches(data, vocabulary: configuration.vocabulary)
    }
    if resumes, let source = try? TokenSource.caches(cache, vocabulary: configuration.vocabulary),
      case .caches(let training, _) = source,
      PictureDataSet.isSame(data, as: training.description.data)
    {
      return source
    }
    return makes ? try await made(console) : try await awaited(configuration.vocabulary)
  }

  private func made(_ console: Console) async throws -> TokenSource {
    let all = try flags.pictures.dataSet(labels: .wanted, split: settings.split)
    var recipe = PictureRecipe(side: 1)
    try flags.preparation.apply(&recipe)
    try recipe.checkClasses(of: all)
    for remark in all.remarks { console.note(remark) }
    let (training, heldOut) = try flags.pictures.heldOut(
      all, share: settings.holdOut, split: settings.heldOutSplit, labels: .wanted)
    console.note(
      "\(flags.pictures.data): \(training.count) pictures of \(all.classNames.count) classes to "
        + "learn from, \(heldOut?.count ?? 0) held out")
    let schedule = flags.scales ?? TokenizerPath.schedule(tokenizer) ?? .px256
    var preparation = TokenPreparation(
      tokenizer: tokenizer, path: cache, schedule: schedule, recipe: recipe)
    (preparation.versions, preparation.seed) = (flags.versions, settings.seed)
    preparation.wrongCodes = flags.wrongCodes
    preparation.toleratedShare = flags.pictures.unreadable
    preparation.compute = compute
    let bar = Mutex(console.progress(training.count * flags.versions + (heldOut?.count ?? 0)))
    let shown = Mutex(0)
    defer { bar.withLock { $0.finish() } }
    let (source, unreadable) = try await preparation.run(training: training, heldOut: heldOut) {
      done, total in
      let before = shown.withLock { shown in
        defer { shown = done }
        return shown
      }
      bar.withLock { $0.advance("tokens of picture \(done) of \(total)", by: done - before) }
    }
    bar.withLock { $0.finish() }
    for picture in unreadable.prefix(5) {
      console.note("\(picture.name) is left out: \(picture.reason)")
    }
    if unreadable.count > 5 { console.note("and \(unreadable.count - 5) more are left out") }
    return source
  }

  /// Waits until the first process has made the tokens.
  private func awaited(_ vocabulary: Int) async throws -> TokenSource {
    while true {
      if let source = try? TokenSource.caches(cache, vocabulary: vocabulary),
        source.isWhole || settings.holdOut == 0
      {
        return source
      }
      try await Task.sleep(for: .seconds(1))
    }
  }
}
