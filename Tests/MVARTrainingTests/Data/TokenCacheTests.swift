import Foundation
import MVAR
import Pictures
import Testing
import Torch
import TorchTestSupport

@testable import MVARTraining

/// Tokens made once and read in batches, with the recorded runs' tokenizer.
@Suite struct TokenCacheTests {
  private let folder: PictureFolder
  private let data: PictureDataSet
  private let schedule: ScaleSchedule

  init() throws {
    folder = try PictureFolder.classes(["ant", "bee"], count: 3)
    // Noise, so that no two pictures have the same tokens.
    for (number, name) in ["ant/0", "ant/1", "ant/2", "bee/0", "bee/1", "bee/2"].enumerated() {
      var draws = Draws(seed: 6, .code, epoch: 0, place: number)
      let pixels = (0..<48 * 48 * 3).map { _ in UInt8(draws.below(256)) }
      try folder.write(
        Picture(width: 48, height: 48, pixels: pixels).encoded(as: .png), to: "\(name).png")
    }
    data = try PictureDataSet(folder.path)
    schedule = try ScaleSchedule(squares: [1, 2])
  }

  private var cache: String { folder.path + ".cache" }

  private func settings(versions: Int = 2) -> TokenCacheWriter.Settings {
    var settings = TokenCacheWriter.Settings(
      recipe: PictureRecipe(side: 32), schedule: schedule)
    settings.versions = versions
    settings.batch = 2
    settings.partSize = 4
    settings.seed = 3
    return settings
  }

  private func writer(
    _ data: PictureDataSet? = nil, _ settings: TokenCacheWriter.Settings? = nil
  ) async throws -> TokenCacheWriter {
    let tokenizer = try await PictureTokenizer(
      Golden.tokenizerFile, options: ComputeOptions(precision: .float32, place: .cpu, threads: 1))
    return try TokenCacheWriter(
      data ?? self.data, settings ?? self.settings(), tokenizer: tokenizer,
      tokenizerFile: Golden.tokenizerFile, to: cache)
  }

  private func cleanUp() { try? FileManager.default.removeItem(atPath: cache) }

  @Test func holdsTheTokensOfEveryVersion() async throws {
    defer { cleanUp() }
    let unreadable = try await writer().run()
    #expect(unreadable.isEmpty)
    let cache = try TokenCache(cache)
    #expect(cache.count == 6 && cache.labels == [0, 0, 0, 1, 1, 1])
    #expect(cache.classNames == ["ant", "bee"])
    #expect(cache.description.vocabulary > 0 && cache.description.tokenizer.count == 64)
    let tokenizer = try await PictureTokenizer(
      Golden.tokenizerFile, options: ComputeOptions(precision: .float32, place: .cpu, threads: 1))
    let maker = try PictureMaker(data, PictureRecipe(side: 32))
    for version in 0..<2 {
      for picture in [0, 4, 5] {
        var draws = Draws(seed: 3, .augmentation, epoch: version, place: picture)
        let square = try maker.square(picture, &draws).square
        let expected = try await tokenizer.tokens(of: [square], schedule: schedule)
        #expect(try cache.tokens([picture], versions: [version]) == expected)
      }
    }
  }

  @Test func keepsWhatStandsBesideWhatIsRight() async throws {
    defer { cleanUp() }
    var spoilt = settings(versions: 8)
    spoilt.wrongCodes = 0.6
    _ = try await writer(nil, spoilt).run()
    let cache = try TokenCache(cache)
    let places = (0..<6).flatMap { picture in (0..<8).map { (picture, $0) } }
    func tokens(_ reading: TokenCache.Reading) throws -> PictureTokens {
      try cache.tokens(places.map(\.0), versions: places.map(\.1), reading)
    }
    let (right, standing) = (try tokens(.right), try tokens(.standing))
    let differing = (0..<48).filter { right[$0..<$0 + 1] != standing[$0..<$0 + 1] }
    // Seven of ten are to differ where 5 tokens each have a chance of 0.3: 27 of 48, give or take 4.
    #expect((14...40).contains(differing.count))
    // Nothing stands before the first scale, so that it is right as ever.
    let tokenizer = try await PictureTokenizer(
      Golden.tokenizerFile, options: ComputeOptions(precision: .float32, place: .cpu, threads: 1))
    let maker = try PictureMaker(data, PictureRecipe(side: 32))
    var draws = Draws(seed: 3, .augmentation, epoch: 2, place: 4)
    let square = try maker.square(4, &draws).square
    let plain = try await tokenizer.tokens(of: [square], schedule: schedule)
    #expect(plain.scales[0] == [right.scales[0][4 * 8 + 2]])
    let batch = try CachedTokens(cache, batch: 48, seed: 1).next()
    #expect(batch.read != nil && batch.read != batch.tokens)
    #expect(batch[3..<5].read == batch.read?[3..<5])
  }

  @Test func batchesGoThroughAllPicturesAndCanBeEnteredAnywhere() async throws {
    defer { cleanUp() }
    _ = try await writer().run()
    let cache = try TokenCache(cache)
    let batches = try CachedTokens(cache, batch: 4, seed: 8)
    #expect(batches.batchesPerEpoch == 2 && batches.classes == 2)
    let all = try (0..<8).map { _ in try batches.next() }
    #expect(batches.position == DataPosition(epoch: 4))
    // Six pictures and the first two again.
    let known = (0..<6).flatMap { picture in (0..<2).map { (picture, $0) } }
    func picture(_ batch: TokenBatch, _ row: Int) throws -> Int {
      let found = try known.filter {
        try cache.tokens([$0.0], versions: [$0.1]) == batch.tokens[row..<row + 1]
          && cache.labels[$0.0] == batch.labels[row]
      }
      return try #require(found.first).0
    }
    var versionsDiffer = false
    for epoch in 0..<4 {
      let rows = try (0..<8).map { try picture(all[2 * epoch + $0 / 4], $0 % 4) }
      #expect(Set(rows.prefix(6)).count == 6 && rows.suffix(2) == rows.prefix(2))
      versionsDiffer = versionsDiffer || all[2 * epoch] != all[0]
    }
    #expect(versionsDiffer)
    for step in [5, 2, 7] {
      batches.seek(to: DataPosition(step: step))
      #expect(batches.position == DataPosition(epoch: step / 2, step: step % 2))
      #expect(try batches.next() == all[step])
    }
  }

  @Test func goesOnWhereItWasStopped() async throws {
    defer { cleanUp() }
    _ = try await writer().run()
    let parts = try FileManager.default.contentsOfDirectory(atPath: cache).sorted()
    #expect(parts.count == 5)  // cache.json, and two parts for each version
    let whole = try parts.map { try Data(contentsOf: URL(filePath: "\(cache)/\($0)")) }
    // As a stop after the first part, in the middle of the second, would leave it.
    for part in parts[2...] { try FileManager.default.removeItem(atPath: "\(cache)/\(part)") }
    let error = #expect(throws: TrainingError.self) { _ = try TokenCache(cache) }
    #expect(error?.description.contains("1 of 4 parts") == true)
    let time = try modification("\(cache)/\(parts[1])")
    _ = try await writer().run()
    #expect(try parts.map { try Data(contentsOf: URL(filePath: "\(cache)/\($0)")) } == whole)
    #expect(try modification("\(cache)/\(parts[1])") == time)
  }

  private func modification(_ path: String) throws -> Date? {
    try FileManager.default.attributesOfItem(atPath: path)[.modificationDate] as? Date
  }

  @Test func aCacheOfOtherSettingsIsNotTouched() async throws {
    defer { cleanUp() }
    _ = try await writer(settings: settings(versions: 1)).run()
    var other = settings(versions: 3)
    other.seed = 4
    await #expect {
      _ = try await writer(nil, other)
    } throws: { error in
      let text = "\(error)"
      return text.contains("seed is 4 and was 3") && text.contains("versions is 3 and was 1")
    }
    try folder.add("bee/new.png", number: 9)
    let more = try PictureDataSet(folder.path)
    await #expect {
      _ = try await writer(more, settings(versions: 1))
    } throws: { "\($0)".contains("number of pictures is 7 and was 6") }
  }

  private func writer(settings: TokenCacheWriter.Settings) async throws -> TokenCacheWriter {
    try await writer(nil, settings)
  }

  @Test func unreadablePicturesAreLeftOut() async throws {
    defer { cleanUp() }
    try folder.write("no picture", to: "ant/1.png")
    var tolerant = settings()
    await #expect { _ = try await writer().run() } throws: { "\($0)".contains("1 of 6 pictures") }
    tolerant.toleratedShare = 0.2
    let unreadable = try await writer(nil, tolerant).run()
    #expect(unreadable.map(\.name) == [folder.file("ant/1.png")])
    let cache = try TokenCache(cache)
    #expect(cache.labels == [0, 0, 1, 1, 1])
    #expect(try CachedTokens(cache, batch: 9, seed: 1).next().labels.count == 9)
  }

  /// The second part's pictures are to be read when no more files can be opened.
  @Test func tooManyOpenFilesEndTheMaking() async {
    await #expect(processExitsWith: .success) {
      let data = try PictureDataSet(Golden.folder + "/../pictures", labels: .ignored)
        .filtered { $0.location.name.hasSuffix("a.png") }
      let cache = FileManager.default.temporaryDirectory.path + "/cache-\(UUID().uuidString)"
      let first = TokenCacheDescription.partName(0)
      // Neither asks for a descriptor.
      defer {
        for file in ["cache.json", first] { unlink("\(cache)/\(file)") }
        rmdir(cache)
      }
      var settings = TokenCacheWriter.Settings(
        recipe: PictureRecipe(side: 32), schedule: try ScaleSchedule(squares: [1, 2]))
      (settings.versions, settings.partSize, settings.toleratedShare) = (1, 1, 1)
      let tokenizer = try await PictureTokenizer(
        Golden.tokenizerFile,
        options: ComputeOptions(precision: .float32, place: .cpu, threads: 1))
      let writer = try TokenCacheWriter(
        data, settings, tokenizer: tokenizer, tokenizerFile: Golden.tokenizerFile, to: cache)
      let error = await #expect(throws: TrainingError.self) {
        _ = try await writer.run { _ in
          if FileManager.default.fileExists(atPath: "\(cache)/\(first)") { allowNoMoreOpenFiles() }
        }
      }
      #expect(error?.kind == .file)
      #expect(error?.description.contains("ulimit -n") == true, "\(error.debugDescription)")
    }
  }

  @Test(arguments: [0, 0.5]) func aPartOfUnreadablePicturesAloneIsOpened(_ wrongCodes: Double)
    async throws
  {
    defer { cleanUp() }
    for name in ["bee/1.png", "bee/2.png"] { try folder.write("no picture", to: name) }
    var tolerant = settings()
    (tolerant.toleratedShare, tolerant.wrongCodes) = (0.5, wrongCodes)
    // The second part of each version has the last two of six pictures.
    #expect(try await writer(nil, tolerant).run().count == 2)
    let cache = try TokenCache(cache)
    #expect(cache.labels == [0, 0, 0, 1] && cache.isSpoilt == (wrongCodes > 0))
    #expect(try CachedTokens(cache, batch: 9, seed: 1).next().labels.count == 9)
  }

  /// One of two held-out pictures is half of them, but a sixth of all.
  @Test func theToleratedShareIsOfAllPictures() async throws {
    defer { cleanUp() }
    try folder.write("no picture", to: "bee/1.png")
    let heldOut = data.filtered {
      ["bee/1.png", "bee/2.png"].map(folder.file).contains($0.location.name)
    }
    let training = data.filtered { !heldOut.entries.contains($0) }
    var preparation = preparation()
    preparation.toleratedShare = 0.16
    let strict = preparation
    let error = await #expect(throws: TrainingError.self) {
      _ = try await strict.run(training: training, heldOut: heldOut) { _, _ in }
    }
    #expect(error?.description.contains("1 of 2 pictures cannot be read") == true)
    preparation.toleratedShare = 0.17
    let made = try await preparation.run(training: training, heldOut: heldOut) { _, _ in }
    #expect(made.unreadable.map(\.name) == [folder.file("bee/1.png")])
  }

  /// Other processes wait for held-out pictures, and must learn that there are none.
  @Test func aCacheSaysWhetherPicturesAreHeldOut() async throws {
    defer { cleanUp() }
    _ = try await preparation().run(training: data, heldOut: nil) { _, _ in }
    let vocabulary = try TokenCache(cache + "/training").description.vocabulary
    #expect(try TokenSource.caches(cache, vocabulary: vocabulary).isWhole)
    cleanUp()
    let half = data.filtered { $0.label == 0 }
    _ = try await preparation().run(training: data, heldOut: half) { _, _ in }
    #expect(try TokenSource.caches(cache, vocabulary: vocabulary).isWhole)
    try FileManager.default.removeItem(atPath: cache + "/held-out")
    #expect(try !TokenSource.caches(cache, vocabulary: vocabulary).isWhole)
  }

  private func preparation() -> TokenPreparation {
    var preparation = TokenPreparation(
      tokenizer: Golden.tokenizerFile, path: cache, schedule: schedule,
      recipe: PictureRecipe(side: 1))
    preparation.versions = 1
    preparation.compute = ComputeOptions(precision: .float32, place: .cpu, threads: 1)
    return preparation
  }

  @Test func picturesOfAnotherSizeAreRefused() async throws {
    var wrong = settings()
    wrong.recipe.side = 48
    await #expect {
      _ = try await writer(nil, wrong)
    } throws: { "\($0)".contains("48 pixels") && "\($0)".contains("32 × 32") }
  }
}
