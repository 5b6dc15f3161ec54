import CheckpointFormats
import Foundation
import Pictures
import Testing
import Torch
import TorchTestSupport

@testable import MVAR

/// Pictures to tokens, to a file, and back.
@Suite struct PictureTokensTests {
  init() throws { try LibTorch.load() }

  private let tokens = PictureTokens(
    schedule: try! ScaleSchedule(parsing: "1,2x3"), count: 2,
    scales: [[5, 6], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]])

  /// A file with the given maps and no note about their sizes.
  private func file(_ maps: [(String, Tensor)], in folder: TemporaryFolder) throws -> String {
    let path = folder.file("tokens.safetensors")
    try TensorFile.write(maps.map { (name: $0.0, tensor: $0.1) }, to: path)
    return path
  }

  @Test func aFileKeepsTokensAndSizes() throws {
    let folder = try TemporaryFolder()
    try tokens.write(to: folder.file("x.safetensors"))
    #expect(try PictureTokens(contentsOf: folder.file("x.safetensors")) == tokens)
    let file = try SafetensorsFile(folder.file("x.safetensors"))
    #expect(file.tensors.map(\.shape).sorted { $0[1] < $1[1] } == [[2, 1], [2, 6]])
    #expect(file.tensors.allSatisfy { $0.elementType == .int64 })
  }

  @Test func sizesAreReadOffSquareMaps() throws {
    let folder = try TemporaryFolder()
    let path = try file(
      [("tokens.0", .zeros([1, 1], dtype: .int64)), ("tokens.1", .zeros([1, 4], dtype: .int64))],
      in: folder)
    #expect(try PictureTokens(contentsOf: path).schedule.description == "1,2")
    let other = try ScaleSchedule(parsing: "1,1x4")
    #expect(try PictureTokens(contentsOf: path, schedule: other).schedule == other)
    expectFailure(.mismatch, path, "[1, 4]", "1,3", "--scales") {
      _ = try PictureTokens(contentsOf: path, schedule: ScaleSchedule(parsing: "1,3"))
    }
  }

  @Test func mapsThatAreNotSquareNeedTheirSizes() throws {
    let folder = try TemporaryFolder()
    let path = try file([("tokens.0", .zeros([1, 6], dtype: .int64))], in: folder)
    expectFailure(.mismatch, path, "[6]", "--scales") { _ = try PictureTokens(contentsOf: path) }
  }

  @Test func filesWithoutTokens() throws {
    let folder = try TemporaryFolder()
    let none = try file([("other", .zeros([1, 1], dtype: .int64))], in: folder)
    expectFailure(.checkpoint, none, "tokens.0") { _ = try PictureTokens(contentsOf: none) }
    for map in [Tensor.zeros([1, 1]), .zeros([1], dtype: .int64)] {
      let path = try file([("tokens.0", map)], in: folder)
      expectFailure(.checkpoint, path, "int64") { _ = try PictureTokens(contentsOf: path) }
    }
    let uneven = try file(
      [("tokens.0", .zeros([1, 1], dtype: .int64)), ("tokens.1", .zeros([2, 4], dtype: .int64))],
      in: folder)
    expectFailure(.checkpoint, uneven, "[[1, 1], [2, 4]]") {
      _ = try PictureTokens(contentsOf: uneven)
    }
  }

  // MARK: Through a tokenizer

  private func tokenizer() async throws -> PictureTokenizer {
    try await PictureTokenizer(
      CheckpointFixture.training,
      options: ComputeOptions(precision: .float32, place: .cpu, threads: 1))
  }

  @Test func picturesSurviveAsTokensOfTheirSize() async throws {
    let tokenizer = try await tokenizer()
    let schedule = try ScaleSchedule(parsing: "1,2x3")
    #expect(tokenizer.pictureSize(schedule) == (3, 2))
    let pictures = [UInt8(10), 200].map { value in
      Picture(width: 3, height: 2, pixels: (0..<18).map { UInt8($0) &* 13 &+ value })
    }
    let tokens = try await tokenizer.tokens(of: pictures, schedule: schedule)
    #expect(tokens.count == 2 && tokens.scales.map(\.count) == [2, 12])
    let back = try await tokenizer.pictures(of: tokens)
    #expect(back.map { [$0.width, $0.height] } == [[3, 2], [3, 2]])
    let every = try await tokenizer.picturesOfEveryScale(of: tokens)
    #expect(every.count == 2 && every.last == back)
    #expect(
      try await tokenizer.tokens(of: [pictures[1]], schedule: schedule).scales[0][0]
        == tokens.scales[0][1])
  }

  @Test func pictureOfAnotherSize() async throws {
    let tokenizer = try await tokenizer()
    let schedule = try ScaleSchedule(parsing: "1,2x3")
    let error = await #expect(throws: MVARError.self) {
      try await tokenizer.tokens(
        of: [Picture(width: 2, height: 3, filledWith: .black)], schedule: schedule)
    }
    #expect(error?.kind == .mismatch)
    expectLine(error, "2 × 3 pixels", "1,2x3", "3 × 2", "resize")
  }

  @Test(arguments: [-1, 32, Int64.max]) func aTokenOutsideTheVocabulary(_ token: Int64) async throws
  {
    let tokenizer = try await tokenizer()
    let tokens = PictureTokens(
      schedule: try ScaleSchedule(parsing: "1,1"), count: 1, scales: [[0], [token]])
    let error = await #expect(throws: MVARError.self) { try await tokenizer.pictures(of: tokens) }
    #expect(error?.kind == .mismatch)
    expectLine(error, "token \(token)", "0...31")
  }
}

/// Pictures that no schedule fits are errors, not traps.
@Suite struct PictureTokenizerInputTests {
  @Test func refusesNoPicturesAndPicturesOfAnotherSize() async throws {
    let tokenizer = try await PictureTokenizer(
      Golden.tokenizerFile, options: ComputeOptions(precision: .float32, place: .cpu))
    let schedule = try ScaleSchedule(squares: [1, 2])
    await #expect(throws: MVARError.self) {
      try await tokenizer.tokens(of: [], schedule: schedule)
    }
    let pictures = [(32, 32), (32, 16)].map {
      Picture(width: $0.0, height: $0.1, filledWith: .black)
    }
    await #expect(throws: MVARError.self) {
      try await tokenizer.tokens(of: pictures, schedule: schedule)
    }
    let tokens = try await tokenizer.tokens(of: [pictures[0]], schedule: schedule)
    #expect(tokens.scales.map(\.count) == [1, 4])
  }

  @Test func aSingleScaleHasNoTeacherInput() throws {
    try LibTorch.load()
    let tokenizer = try Tokenizer.load(Checkpoint(Golden.tokenizerFile))
    let pyramid = try TokenPyramid(
      schedule: ScaleSchedule(squares: [2]), scales: [.zeros([3, 4], dtype: .int64)])
    #expect(tokenizer.quantizer.teacherInput(pyramid).shape == [3, 0, 16])
  }
}
