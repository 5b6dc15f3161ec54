import Foundation
import Pictures
import Testing
import Torch
import TorchTestSupport

@testable import MVAR

/// Editing pictures with the reference's checkpoints.
@Suite(.serialized) struct ImageEditingTests {
  private static let options = ComputeOptions(precision: .float32, place: .cpu, threads: 1)
  private static let settings = SamplingSettings(guidance: 2, topK: 60, topP: 0.9)

  private func editor(_ golden: Golden = .mvar64) async throws -> ImageGenerator {
    try await ImageGenerator(
      model: golden.modelFile, tokenizer: Golden.tokenizerFile, options: Self.options, edits: true)
  }

  /// The recorded pictures.
  private func pictures(_ golden: Golden = .mvar64) throws -> [Picture] {
    try LibTorch.load()
    return try withInferenceMode { try golden.tensor("image.uint8").pictures(bytes: true) }
  }

  private func reconstructed(_ pictures: [Picture], _ golden: Golden) async throws -> [Picture] {
    let tokenizer = try await PictureTokenizer(Golden.tokenizerFile, options: Self.options)
    return try await tokenizer.pictures(
      of: tokenizer.tokens(of: pictures, schedule: golden.schedule()))
  }

  private func left(_ picture: Picture) throws -> EditMask {
    try EditMask(
      width: picture.width, height: picture.height,
      box: PixelBox(left: 0, top: 0, right: picture.width / 2, bottom: picture.height))
  }

  // MARK: What must hold

  @Test(arguments: Golden.all) func allMaskedIsSamplingAndNothingIsReconstruction(
    _ golden: Golden
  ) async throws {
    let editor = try await editor(golden)
    let picture = try pictures(golden)[0]
    let (width, height) = (picture.width, picture.height)
    func edited(_ mask: EditMask) async throws -> Picture {
      let request = EditRequest(picture: picture, mask: mask, label: 2, seed: 7)
      return try await editor.edited([request], settings: Self.settings)[0]
    }
    let drawn = try await editor.pictures([.init(label: 2, seed: 7)], settings: Self.settings)[0]
    #expect(try await edited(.everything(width: width, height: height)) == drawn)
    let kept = try await edited(.nothing(width: width, height: height))
    #expect(try await kept == reconstructed([picture], golden)[0])
    #expect(kept != drawn)
  }

  @Test func aResultDoesNotDependOnItsBatch() async throws {
    let editor = try await editor()
    let pictures = try pictures()
    let request = EditRequest(
      picture: pictures[0], mask: try left(pictures[0]), label: 3, seed: 5, edges: .soft)
    let other = EditRequest(
      picture: pictures[1], mask: .everything(width: 64, height: 64), seed: 9,
      settings: SamplingSettings(guidance: 4, topK: 3))
    let first = try await editor.edited([request, other], settings: Self.settings)
    let second = try await editor.edited([other, other, request], settings: Self.settings)
    let alone = try await editor.edited([request], settings: Self.settings)
    for (a, b) in [(first[0], second[2]), (first[1], second[0]), (first[0], alone[0])] {
      // The tokens are equal; a batch of another size rounds differently.
      #expect(zip(a.pixels, b.pixels).allSatisfy { abs(Int($0) - Int($1)) <= 1 })
    }
    #expect(try await editor.edited([request, other], settings: Self.settings) == first)
    #expect(second[0] == second[1] && first[0] != first[1])
  }

  @Test func seedsClassesAndMasksMatter() async throws {
    let editor = try await editor()
    let picture = try pictures()[0]
    let mask = try left(picture)
    let base = EditRequest(picture: picture, mask: mask, label: 3, seed: 5)
    var requests = Array(repeating: base, count: 6)
    requests[1].seed = 6
    requests[2].label = 1
    requests[3].label = nil
    requests[4].mask = mask.inverted
    requests[5].edges = .soft
    let results = try await editor.edited(requests, settings: Self.settings)
    #expect(Set(results).count == 6)
  }

  @Test func variationsKeepTheFirstScales() async throws {
    let editor = try await editor()
    let picture = try pictures()[0]
    let schedule = editor.configuration.schedule
    func variation(_ strength: Double, seed: UInt64 = 1) throws -> EditRequest {
      try .variation(of: picture, strength: strength, label: 2, seed: seed, schedule: schedule)
    }
    let requests = [
      try variation(0), try variation(0.25), try variation(0.75), try variation(1),
      try variation(0.75, seed: 2), try variation(0, seed: 2),
    ]
    let results = try await editor.edited(requests, settings: Self.settings)
    #expect(results[0] == (try await reconstructed([picture], .mvar64))[0])
    #expect(results[5] == results[0])
    #expect(Set(results).count == 5)
    let drawn = try await editor.pictures(
      Array(repeating: .init(label: 2, seed: 1), count: 6), settings: Self.settings)
    #expect(results[3] == drawn[3])
  }

  @Test func interpolationEndsInTheSeedsPictures() async throws {
    let editor = try await editor()
    let requests = InterpolationRequest.steps(5, label: 2, from: 7, to: 8)
    #expect(requests.map(\.position) == [0, 0.25, 0.5, 0.75, 1])
    let between = try await editor.interpolated(requests, settings: Self.settings)
    let ends = try await editor.pictures(
      [7, 7, 7, 7, 8].map { .init(label: 2, seed: $0) }, settings: Self.settings)
    #expect(between[0] == ends[0] && between[4] == ends[4])
    #expect(Set(between).count == 5)
    #expect(InterpolationRequest.steps(1, label: 0, from: 1, to: 2).map(\.position) == [0])
  }

  // MARK: Scale by scale

  @Test func previewsEndInTheResult() async throws {
    let editor = try await editor()
    let picture = try pictures()[0]
    let request = EditRequest(picture: picture, mask: try left(picture), label: 1, seed: 3)
    var scales: [GeneratedScale] = []
    for try await scale in editor.edits([request], settings: Self.settings, previews: true) {
      scales.append(scale)
    }
    #expect(scales.map(\.index) == [0, 1, 2, 3])
    #expect(scales.map { $0.pictures?.count } == [1, 1, 1, 1])
    #expect(
      scales.last?.pictures == (try await editor.edited([request], settings: Self.settings)))
    for try await _ in editor.edits([]) { Issue.record("a scale of nothing") }
  }

  @Test func cancellingTheTaskStopsTheWork() async throws {
    let editor = try await editor(.mvar256)
    let picture = try pictures(.mvar256)[0]
    let request = EditRequest(picture: picture, mask: try left(picture), label: 1, seed: 3)
    let seen = try await Task {
      var seen = 0
      for try await _ in editor.edits([request]) {
        seen += 1
        withUnsafeCurrentTask { $0?.cancel() }
      }
      return seen
    }.value
    #expect((1..<10).contains(seen))
    let task = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      return try await editor.edited([request])
    }
    await #expect(throws: CancellationError.self) { try await task.value }
  }

  // MARK: Bad input

  private func expectRefusal(
    _ parts: [String], _ change: (inout EditRequest) -> Void,
    at location: SourceLocation = #_sourceLocation
  ) async throws {
    let editor = try await editor()
    let picture = try pictures()[0]
    var request = EditRequest(picture: picture, mask: try left(picture), label: 1, seed: 3)
    change(&request)
    let changed = request
    let error = await #expect(throws: MVARError.self, sourceLocation: location) {
      try await editor.edited([changed])
    }
    for part in parts { expectLine(error, part, at: location) }
  }

  @Test func requestsAreChecked() async throws {
    try await expectRefusal(["class is 5", "0...4"]) { $0.label = 5 }
    try await expectRefusal(["class is -1"]) { $0.label = -1 }
    try await expectRefusal(["32 × 32", "64 × 64"]) {
      $0.picture = Picture(width: 32, height: 32, filledWith: .black)
    }
    try await expectRefusal(["mask of 64 × 32", "64 × 64"]) {
      $0.mask = .everything(width: 64, height: 32)
    }
    try await expectRefusal(["kept scales is 5", "4 scales"]) { $0.keptScales = 5 }
    try await expectRefusal(["threshold is 2"]) { $0.edges = .hard(threshold: 2) }
    try await expectRefusal(["top-p is 0"]) { $0.settings = SamplingSettings(topP: 0) }
    try await expectRefusal(["no token", "16 × 16"]) {
      $0.mask = try! EditMask(
        width: 64, height: 64, box: PixelBox(left: 0, top: 0, right: 3, bottom: 3))
    }
  }

  @Test(arguments: [-0.5, 1.5, .nan]) func positionsAreChecked(_ position: Double) async throws {
    let editor = try await editor()
    let error = await #expect(throws: MVARError.self) {
      try await editor.interpolated([.init(label: 0, from: 1, to: 2, position: position)])
    }
    expectLine(error, "position is")
  }

  @Test func aGeneratorWithoutEncoderSaysSo() async throws {
    let generator = try await ImageGenerator(
      model: Golden.mvar64.modelFile, tokenizer: Golden.tokenizerFile, options: Self.options)
    let picture = try pictures()[0]
    let error = await #expect(throws: MVARError.self) {
      try await generator.edited([.init(picture: picture, mask: try left(picture), seed: 1)])
    }
    expectLine(error, "edits: true")
  }
}

extension Tensor {
  /// `[B, 3, H, W]` uint8 as pictures.
  fileprivate func pictures(bytes: Bool) throws -> [Picture] {
    let (B, _, H, W) = shape4
    return try (0..<B).map { index in
      Picture(
        width: W, height: H,
        pixels: try self[index].permute(1, 2, 0).contiguous().elements(as: UInt8.self))
    }
  }
}
