import Foundation
import MVAR
import Pictures
import Testing
import Torch
import TorchTestSupport

@testable import MVARTraining

/// A tokenizer of two levels on pictures of 8 pixels.
private func tiny() -> TokenizerTrainingSettings {
  var settings = TokenizerTrainingSettings()
  settings.resolution = 8
  settings.recipe = .evaluation(side: 8)
  settings.multipliers = [1, 1]
  settings.residualBlocks = 1
  settings.attention = false
  settings.codes = 32
  settings.codeWidth = 8
  settings.phis = 2
  settings.batch = 4
  settings.steps = 8
  settings.perceptualWeight = 0
  settings.adversarialWeight = 0
  settings.scaleDropout = 0.25
  settings.reviveEvery = 3
  settings.averaging = 0.9
  return settings
}

private func learner(_ settings: TokenizerTrainingSettings, steps: Int? = nil) throws
  -> TokenizerLearner
{
  try TokenizerLearner(
    settings, perceptual: nil, precision: .float32, device: .cpu,
    steps: steps ?? settings.steps!)
}

@Suite struct TokenizerLearnerTests {
  init() throws {
    try LibTorch.load()
    Device.setThreadCount(1)
  }

  private func images(_ count: Int = 4) -> Tensor {
    let pixels = (0..<count).flatMap {
      PictureFolder.picture(3 + 7 * $0, width: 8, height: 8).pixels
    }
    return Tensor.of(pixels, shape: [count, 8, 8, 3]).to(.float32).permute(0, 3, 1, 2)
      .contiguous() * (1 / 127.5) - 1
  }

  @Test func learnsAHandfulOfPicturesByHeart() throws {
    var settings = tiny()
    settings.scaleDropout = 0
    settings.rate = 4e-3
    settings.steps = 100
    let learner = try learner(settings)
    let images = images()
    var losses: [Double] = []
    for step in 0..<100 {
      let measures = try learner.step(images, measures: step == 0 || step == 99)
      if let measures { losses.append(try #require(measures["train/l2"]).item()) }
    }
    try learner.checkHealth()
    #expect(losses[1] < 0.1 * losses[0], "\(losses)")
    let psnr = try learner.evaluate([images])["validation/psnr"]!
    #expect(psnr > 20, "\(psnr)")
    let last = try #require(try learner.step(images, measures: true))
    let usage = try (1...3).map { try last["train/usage/scale\($0)"]!.item() }
    #expect(usage.allSatisfy { (0...100).contains($0) } && usage[2] > 0, "\(usage)")
  }

  @Test func theSameSeedGivesTheSameWeights() throws {
    func weights(seed: UInt64) throws -> [Tensor] {
      var settings = tiny()
      settings.seed = seed
      let learner = try learner(settings)
      for _ in 0..<4 { _ = try learner.step(images(), measures: false) }
      return learner.weights.tensors.map { $0.detached() }
    }
    let (a, b, c) = (try weights(seed: 1), try weights(seed: 1), try weights(seed: 2))
    #expect(try zip(a, b).allSatisfy { try $0.isEqual(to: $1) })
    #expect(try zip(a, c).contains { try !$0.isEqual(to: $1) })
  }

  @Test func everyWeightLearns() throws {
    let learner = try learner(tiny())
    let before = learner.weights.tensors.map { $0.detached().clone() }
    _ = try learner.step(images(), measures: false)
    for ((name, tensor), old) in zip(learner.weights.named, before) {
      let gradient = try #require(tensor.gradient, "\(name) has no gradient")
      // A bias before a normalisation of single channels could not; here groups have one channel each,
      // which takes away what the convolutions before them add.
      if name.hasSuffix("conv1.bias") { continue }
      #expect(try gradient.absolute().max().item() > 0, "\(name)")
      #expect(try !tensor.detached().isEqual(to: old), "\(name)")
    }
  }

  @Test func aNumberThatIsNoneStopsTheRunAndLeavesTheWeights() throws {
    var settings = tiny()
    settings.reviveEvery = 0
    let learner = try learner(settings)
    _ = try learner.step(images(), measures: false)
    let before = learner.weights.tensors.map { $0.detached().clone() }
    _ = try learner.step(images() * .nan, measures: false)
    _ = try learner.step(images(), measures: false)
    #expect(
      try zip(learner.weights.tensors, before).allSatisfy { try $0.detached().isEqual(to: $1) })
    expectTrainingError(.divergence, "step 2") { try learner.checkHealth() }
  }

  @Test func inTheTailTheDecoderAloneLearns() throws {
    var settings = tiny()
    settings.decoderTail = 0.5
    settings.wrongCodes = 0.4
    let learner = try learner(settings)
    for _ in 0..<4 { _ = try learner.step(images(), measures: false) }
    let before = learner.weights.tensors.map { $0.detached().clone() }
    let measures = try #require(try learner.step(images(), measures: true))
    #expect(measures["train/quantization"] == nil)
    for ((name, tensor), old) in zip(learner.weights.named, before) {
      let isDecoder = name.hasPrefix("decoder.") || name.hasPrefix("post_quant_conv.")
      let stays = try tensor.detached().isEqual(to: old)
      #expect(stays == !isDecoder || name.hasSuffix("conv1.bias"), "\(name)")
    }
    // About a fifth of the tokens are wrong: a share between 0 and 0.4 of each picture's.
    let scales = learner.schedule.sizes.map { Tensor.full([64, $0.count], 99, dtype: .int64) }
    let spoilt = try learner.spoilt(TokenPyramid(schedule: learner.schedule, scales: scales))
    let tokens = try spoilt.flattened.elements(as: Int.self)
    let wrong = Double(tokens.count { $0 != 99 }) / Double(tokens.count)
    // The mean of 64 shares has a standard deviation of 0.4 / √(12 · 64) = 0.0144; five of them.
    #expect(abs(wrong - 0.2) < 0.072, "\(wrong)")
    #expect(tokens.allSatisfy { $0 == 99 || (0..<32).contains($0) })
  }

  @Test func theAdversaryComesInLateAndIsWeighed() throws {
    var settings = tiny()
    settings.adversarialWeight = 0.4
    settings.adversaryChannels = 8
    settings.adversaryStart = 0.25
    settings.adversaryWarmUp = 0.25
    settings.resolution = 32
    settings.recipe.side = 32
    let learner = try learner(settings)
    let adversary = try #require(learner.adversary)
    let fresh = adversary.weights.tensors.map { $0.detached().clone() }
    func isFresh() throws -> Bool {
      try zip(adversary.weights.tensors, fresh).allSatisfy { try $0.detached().isEqual(to: $1) }
    }
    let images = Tensor.randn([2, 3, 32, 32], seed: 3).clamped(-1, 1)
    for step in 0..<3 {
      let measures = try #require(try learner.step(images, measures: true))
      #expect(measures["train/adversary"] == nil, "step \(step)")
      #expect(try isFresh())
    }
    let measures = try #require(try learner.step(images, measures: true))
    #expect(try !isFresh())
    let weight = try #require(measures["train/adversarial_weight"]).item()
    #expect(weight > 0 && weight.isFinite)
    try learner.checkHealth()
  }

  @Test func theHingeLossIsOneWhereNothingIsTold() throws {
    let none = Tensor.zeros([2, 1, 3, 3])
    #expect(try PatchAdversary.hinge(original: none, decoded: none).item() == 1)
    let sure = Tensor.full([2, 1, 3, 3], 2)
    #expect(try PatchAdversary.hinge(original: sure, decoded: sure * -1).item() == 0)
  }

  @Test func unusedCodesGetANewStartAndUsedOnesStay() throws {
    let schedule = try ScaleSchedule(parsing: "1,2")
    let care = CodebookCare(seed: 1, schedule: schedule, vocabulary: 6, device: .cpu)
    let hits = Tensor.of([Float](arrayLiteral: 0, 2, 0, 0, 0, 0, 0, 3, 0, 0, 5, 0), shape: [2, 6])
    care.note(hits, step: 0)
    #expect(try care.hits.isEqual(to: hits))
    // Margins: 0.08 · 2 · 1 / 6 and 0.08 · 2 · 4 / 6.
    let usage = try care.usage(batch: 2).elements(as: Float.self)
    #expect(abs(usage[0] - 100 / 6) < 1e-3 && abs(usage[1] - 200 / 6) < 1e-3)
    let codebook = Tensor.zeros([6, 3])
    let (following, moments) = (Tensor.zeros([6, 3]), Tensor.ones([6, 3]))
    let inputs = [Tensor.full([2, 3], 7), Tensor.full([8, 3], 9)]
    care.revive(codebook, inputs: inputs, step: 4, following: [following], clearing: [moments])
    let first = try codebook.select(1, 0).elements(as: Float.self)
    #expect(
      [0, 2, 3, 5].allSatisfy { [7, 9].contains(first[$0]) } && first[1] == 0 && first[4] == 0)
    #expect(try following.isEqual(to: codebook))
    #expect(try moments.select(1, 2).elements(as: Float.self) == [0, 1, 0, 0, 1, 0])
    #expect(try care.recent.sum().item() == 0)
  }

  @Test func settingsThatMakeNoSenseAreNamed() {
    func refused(_ parts: String, _ change: (inout TokenizerTrainingSettings) -> Void) {
      var settings = tiny()
      change(&settings)
      expectTrainingError(.setting, parts) { try settings.validate() }
    }
    refused("channels is 40; use a multiple of 32") { $0.channels = 40 }
    refused("resolution is 9") { $0.resolution = 9 }
    refused("end the scales in 4") { $0.scales = "1,2,3" }
    refused("rate is 0.0") { $0.rate = 0 }
    refused("recipe") { $0.recipe.side = 16 }
    refused("codes is 1") { $0.codes = 1 }
    refused("averaging is 1.0") { $0.averaging = 1 }
  }

  @Test(arguments: [1, 2, 3, 8, 12, 16, 24, 32, 48]) func usualScalesGrowToTheFinest(_ finest: Int)
  {
    let sides = TokenizerTrainingSettings.usualSides(finest: finest)
    #expect(sides.first == 1 && sides.last == finest)
    #expect(zip(sides, sides.dropFirst()).allSatisfy { $0 < $1 })
    #expect(sides.count <= 12)
  }
}

@Suite struct TokenizerTrainingTests {
  private let data: PictureFolder

  init() throws {
    try LibTorch.load()
    data = try PictureFolder.classes(["a", "b"], count: 4)
  }

  private func options(_ out: String) -> TokenizerTrainingOptions {
    var options = TokenizerTrainingOptions(out: out)
    options.compute = ComputeOptions(precision: .float32, place: .cpu, threads: 1)
    options.saveEvery = 3
    options.showEvery = 4
    options.logEvery = 2
    options.keep = 9
    return options
  }

  @discardableResult
  private func run(
    _ options: TokenizerTrainingOptions,
    change: @escaping @Sendable (inout TokenizerTrainingSettings) -> Void = { _ in },
    events: @escaping @Sendable (TokenizerTrainingEvent) -> Void = { _ in }
  ) async throws -> String {
    let pictures = try PictureDataSet(data.path, labels: .ignored)
    return try await TokenizerTraining().run(
      options, data: pictures, heldOut: pictures,
      settings: { settings in
        if !options.resumes {
          settings = tiny()
          settings.recipe = PictureRecipe(side: 32)
          settings.adversarialWeight = 0.2
          settings.adversaryChannels = 4
          // The adversary's five layers want 32 pixels; the maps are 4 × 4 all the same.
          settings.resolution = 32
          settings.multipliers = [1, 1, 1, 1]
          settings.batch = 3
        }
        change(&settings)
      }, events: events)
  }

  private func bytes(_ path: String) throws -> Data { try Data(contentsOf: URL(filePath: path)) }

  @Test func aRunThatWasStoppedEndsWithTheSameWeights() async throws {
    let folder = try TemporaryFolder()
    let whole = try await run(options(folder.file("whole")))
    let expected = try bytes(whole)
    // Killed after the checkpoint of step 3 or 6: what is later was lost.
    for step in [3, 6] {
      let out = folder.file("killed-\(step)")
      let name = "checkpoints/step-000000\(step)"
      try FileManager.default.createDirectory(
        atPath: "\(out)/checkpoints", withIntermediateDirectories: true)
      try FileManager.default.copyItem(
        atPath: folder.file("whole/\(name)"), toPath: "\(out)/\(name)")
      try FileManager.default.copyItem(
        atPath: folder.file("whole/log.jsonl"), toPath: "\(out)/log.jsonl")
      var resumed = options(out)
      resumed.resumes = true
      #expect(try await bytes(run(resumed)) == expected)
      let (log, wholeLog) = (try RunCurves(out), try RunCurves(folder.file("whole")))
      #expect(log.curves["train/loss"] == wholeLog.curves["train/loss"])
    }
    // Cancelled in the middle of an epoch.
    let out = folder.file("cancelled")
    let task = Task { [self] in
      try await run(
        options(out),
        events: { event in
          if case .step(5, of: _, _) = event { withUnsafeCurrentTask { $0?.cancel() } }
        })
    }
    await #expect(throws: CancellationError.self) { _ = try await task.value }
    var resumed = options(out)
    resumed.resumes = true
    #expect(try await bytes(run(resumed)) == expected)
  }

  @Test func theFinishedTokenizerIsReadAsAnyOther() async throws {
    let folder = try TemporaryFolder()
    let out = folder.file("run")
    let path = try await run(options(out))
    let tokenizer = try await PictureTokenizer(
      path, options: ComputeOptions(precision: .float32, place: .cpu, threads: 1))
    #expect(tokenizer.configuration.vocabulary == 32)
    #expect(tokenizer.configuration.phi == .partial(2))
    let schedule = try ScaleSchedule(
      squares: TokenizerTrainingSettings.usualSides(finest: 4))
    let picture = PictureFolder.picture(4, width: 32, height: 32)
    let tokens = try await tokenizer.tokens(of: [picture], schedule: schedule)
    #expect(try await tokenizer.pictures(of: tokens)[0].width == 32)
    let files = try FileManager.default.contentsOfDirectory(atPath: out)
    #expect(files.contains { $0.hasPrefix("events.out.tfevents") })
    let curves = try RunCurves(out).curves
    #expect(curves["train/loss"]?.steps == [1, 2, 4, 6, 8])
    #expect(curves["validation/psnr"]?.steps == [4, 8])
    let grid = try Picture(contentsOf: "\(out)/reconstructions/step-0000004.png")
    #expect(grid.width == 3 * 34 - 2)
  }

  @Test func resumingAsksForTheSameSettingsAndPictures() async throws {
    let folder = try TemporaryFolder()
    let out = folder.file("run")
    await #expect {
      var missing = options(out)
      missing.resumes = true
      try await run(missing)
    } throws: { "\($0)".contains("no checkpoint to go on from") }
    try await run(options(out)) { $0.steps = 2 }
    await #expect { try await run(options(out)) } throws: { "\($0)".contains("--resume") }
    var resumed = options(out)
    resumed.resumes = true
    await #expect {
      try await run(resumed) { $0.rate = 1e-5 }
    } throws: { "\($0)".contains("rate is 0.0004, not 1e-05") }
    try data.add("c/new.png", number: 3)
    await #expect { try await run(resumed) } throws: { "\($0)".contains("other pictures") }
  }
}
