import Foundation
import MVAR
import Pictures
import Testing
import TorchTestSupport

/// The generator from several tasks, broken off, and asked for what it cannot do.
@Suite(.serialized) struct ImageGeneratorTests {
  private static let options = ComputeOptions(precision: .float32, place: .cpu, threads: 1)

  private func generator(_ golden: Golden = .mvar64) async throws -> ImageGenerator {
    try await ImageGenerator(
      model: golden.modelFile, tokenizer: Golden.tokenizerFile, options: Self.options)
  }

  /// The largest difference of two pictures' bytes.
  private func difference(_ a: Picture, _ b: Picture) -> Int {
    guard (a.width, a.height) == (b.width, b.height) else { return .max }
    return zip(a.pixels, b.pixels).map { abs(Int($0) - Int($1)) }.max() ?? 0
  }

  @Test func aPictureDoesNotDependOnItsBatch() async throws {
    let generator = try await generator()
    let request = ImageRequest(label: 2, seed: 7)
    let alone = try await generator.pictures([request])
    let batch = try await generator.pictures([
      .init(label: 0, seed: 1), .init(label: 2, seed: 8), request,
    ])
    #expect(alone.count == 1 && batch.count == 3)
    #expect((alone[0].width, alone[0].height) == generator.pictureSize)
    #expect(alone[0] == batch[2])
    #expect(difference(alone[0], batch[1]) > 1)
  }

  @Test func twoTasksAtOnceGetWhatTheyWouldAlone() async throws {
    let generator = try await generator()
    let requests = [ImageRequest(label: 1, seed: 3), ImageRequest(label: 4, seed: 5)]
    let settings = SamplingSettings(guidance: 3, smooth: true)
    let first = try await generator.pictures([requests[0]])
    let second = try await generator.pictures([requests[1]], settings: settings)
    async let a = generator.pictures([requests[0]])
    async let b = generator.pictures([requests[1]], settings: settings)
    async let c = generator.pictures([requests[0]])
    #expect(try await a == first)
    #expect(try await b == second)
    #expect(try await c == first)
    #expect(first != second)
  }

  @Test func previewsEndInThePicture() async throws {
    let generator = try await generator()
    let requests = [ImageRequest(label: 1, seed: 3), ImageRequest(label: 4, seed: 5)]
    var previews: [GeneratedScale] = []
    for try await scale in generator.scales(requests, previews: true) { previews.append(scale) }
    #expect(previews.map(\.index) == [0, 1, 2, 3])
    #expect(previews.map(\.count) == [4, 4, 4, 4])
    #expect(previews.map(\.isLast) == [false, false, false, true])
    #expect(previews.map { $0.pictures?.count } == [2, 2, 2, 2])
    #expect(try await generator.pictures(requests) == previews[3].pictures)
    #expect(previews[2].pictures != previews[3].pictures)

    var plain: [GeneratedScale] = []
    for try await scale in generator.scales(requests) { plain.append(scale) }
    #expect(plain.map { $0.pictures == nil } == [true, true, true, false])
  }

  @Test func noRequestsAreNoPictures() async throws {
    let generator = try await generator()
    #expect(try await generator.pictures([]).isEmpty)
    for try await _ in generator.scales([], previews: true) { Issue.record("a scale of nothing") }
  }

  // MARK: Breaking off

  /// A run that ends writes its trace; one that is broken off does not.
  @Test func leavingTheLoopStopsTheWork() async throws {
    let generator = try await generator(.mvar256)
    let folder = try TemporaryFolder()
    let request = ImageRequest(label: 1, seed: 3)
    var seen = 0
    for try await _ in generator.scales(
      [request], previews: true, traceFile: folder.file("left.safetensors"))
    {
      seen += 1
      break
    }
    // Runs take turns scale by scale: once this one ends, the other would have ended too.
    for try await _ in generator.scales(
      [request], previews: true, traceFile: folder.file("whole.safetensors"))
    {
      seen += 1
    }
    #expect(seen == 1 + 10)
    #expect(try folder.contents == ["whole.safetensors"])
  }

  @Test func cancellingTheTaskStopsTheWork() async throws {
    let generator = try await generator(.mvar256)
    let folder = try TemporaryFolder()
    let file = folder.file("cancelled.safetensors")
    let request = ImageRequest(label: 1, seed: 3)
    let seen = try await Task {
      var seen = 0
      for try await _ in generator.scales([request], previews: true, traceFile: file) {
        seen += 1
        withUnsafeCurrentTask { $0?.cancel() }
      }
      return seen
    }.value
    #expect((1..<10).contains(seen))
    let pictures = try await generator.pictures([request])
    #expect(try folder.contents.isEmpty)
    #expect(try await generator.pictures([request]) == pictures)
  }

  @Test func aCancelledTaskGetsNoPictures() async throws {
    let generator = try await generator()
    let task = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      return try await generator.pictures([ImageRequest(label: 1, seed: 3)])
    }
    await #expect(throws: CancellationError.self) { try await task.value }
  }

  // MARK: Bad input

  @Test(arguments: [-1, 5, 1000]) func aClassOutOfRange(_ label: Int) async throws {
    let generator = try await generator()
    let error = await #expect(throws: MVARError.self) {
      try await generator.pictures([.init(label: 0, seed: 0), .init(label: label, seed: 0)])
    }
    #expect(error?.kind == .invalidValue)
    expectLine(error, "class is \(label)", "0...4")
  }

  @Test func settingsAreChecked() async throws {
    let generator = try await generator()
    let error = await #expect(throws: MVARError.self) {
      try await generator.pictures(
        [.init(label: 0, seed: 0)], settings: SamplingSettings(topP: 1.5))
    }
    expectLine(error, "top-p is 1.5")
  }

  @Test func anUnwritableTraceIsNamedAndTheGeneratorGoesOn() async throws {
    let generator = try await generator()
    let folder = try TemporaryFolder()
    let path = folder.file("no/folder/trace.safetensors")
    let request = ImageRequest(label: 0, seed: 0)
    let error = await #expect(throws: (any Error).self) {
      for try await _ in generator.scales([request], traceFile: path) {}
    }
    expectLine(error, path)
    #expect(try folder.contents.isEmpty)
    #expect(try await generator.pictures([request]).count == 1)
  }

  @Test func noThreads() async throws {
    let error = await #expect(throws: MVARError.self) {
      try await ImageGenerator(
        model: Golden.mvar64.modelFile, tokenizer: Golden.tokenizerFile,
        options: ComputeOptions(place: .cpu, threads: 0))
    }
    expectLine(error, "threads is 0")
  }

  @Test func aDeviceThatIsNotThere() async throws {
    let error = await #expect(throws: MVARError.self) {
      try await ImageGenerator(
        model: Golden.mvar64.modelFile, tokenizer: Golden.tokenizerFile,
        options: ComputeOptions(place: .cuda(99)))
    }
    #expect(error?.kind == .device)
    expectLine(error, "cuda:99", "--device cpu")
  }
}
