import Testing
import Torch
import TorchTestSupport

@testable import MVAR

/// A tokenizer with random weights, over φ forms and schedules.
@Suite struct TokenizerTests {
  typealias PhiSharing = TokenizerConfiguration.PhiSharing

  init() throws { try LibTorch.load() }

  static let phis: [PhiSharing] = [.none(3), .full, .partial(2)]
  static let schedules = ["1,2,4", "1x1,2x3,4x6", "2,2,2"]

  /// Two pictures of the schedule's size.
  private func pictures(_ schedule: ScaleSchedule, seed: UInt64 = 4) -> Tensor {
    Tensor.randn([2, 3, 2 * schedule.final.height, 2 * schedule.final.width], seed: seed)
      .clamped(-1, 1)
  }

  @Test(arguments: phis, schedules)
  func picturesBecomeTokensAndPictures(_ phi: PhiSharing, scales: String) throws {
    let schedule = try ScaleSchedule(parsing: scales)
    let tokenizer = RandomModels.tokenizer(phi)
    try withInferenceMode {
      let image = pictures(schedule)
      let pyramid = try tokenizer.encode(image, schedule: schedule)
      #expect(pyramid.batch == 2)
      #expect(pyramid.scales.map(\.shape) == schedule.sizes.map { [2, $0.count] })
      let tokens = try pyramid.flattened.elements(as: Int.self)
      #expect(tokens.count == 2 * schedule.tokenCount)
      #expect(tokens.allSatisfy { (0..<64).contains($0) })
      #expect(Set(tokens).count > 4)
      let decoded = tokenizer.decode(pyramid)
      #expect(decoded.shape == image.shape && decoded.dtype == .float32)
      #expect(try decoded.absolute().reshape(-1).max(0).item() <= 1)
      let every = tokenizer.decodeEveryScale(pyramid)
      #expect(every.map(\.shape) == Array(repeating: image.shape, count: 3))
      #expect(try every[2].isEqual(to: decoded))
    }
  }

  /// Where some tokens are replaced, the finer scales make up for what stands.
  @Test(arguments: phis)
  func finerScalesFollowWhatStands(_ phi: PhiSharing) throws {
    let schedule = try ScaleSchedule(parsing: "1,2,4")
    let tokenizer = RandomModels.tokenizer(phi)
    try withInferenceMode { () throws -> Void in
      let features = tokenizer.features(of: pictures(schedule))
      let quantizer = tokenizer.quantizer
      let (right, standing) = quantizer.tokens(features, schedule: schedule) { k, tokens in
        k == 1 ? .zeros([2, 4], dtype: .int64) : tokens
      }
      #expect(try standing.scales[0].isEqual(to: right.scales[0]))
      #expect(try standing.scales[1].isEqual(to: .zeros([2, 4], dtype: .int64)))
      let rest = features - quantizer.fHats(standing)[1]
      let expected = quantizer.nearest(rest.permute(0, 2, 3, 1).reshape(-1, 8)).reshape(2, 16)
      #expect(try right.scales[2].isEqual(to: expected))
      let plain = quantizer.tokens(features, schedule: schedule)
      #expect(try plain.scales[1].isEqual(to: right.scales[1]))
      #expect(try !plain.scales[2].isEqual(to: right.scales[2]))
    }
  }

  /// Each scale's tokens are the codes nearest to what the coarser scales left over.
  @Test(arguments: phis, schedules)
  func tokensAreTheNearestCodes(_ phi: PhiSharing, scales: String) throws {
    let schedule = try ScaleSchedule(parsing: scales)
    let tokenizer = RandomModels.tokenizer(phi)
    try withInferenceMode {
      let image = pictures(schedule)
      let features = tokenizer.features(of: image)
      let pyramid = try tokenizer.encode(image, schedule: schedule)
      let fHats = tokenizer.quantizer.fHats(pyramid)
      for (k, size) in schedule.sizes.enumerated() {
        let rest = k == 0 ? features : features - fHats[k - 1]
        let map = rest.resizedArea(size.height, size.width)
        let rows = map.permute(0, 2, 3, 1).reshape(2, size.count, 1, 8)
        let difference = rows - tokenizer.quantizer.codebook
        let nearest = (difference * difference).sum(3).argmin(2)
        #expect(try nearest.isEqual(to: pyramid.scales[k]), "scale \(k)")
      }
    }
  }

  @Test(arguments: phis) func aTransformerReadsTheCoarserScalesOnly(_ phi: PhiSharing) throws {
    let schedule = try ScaleSchedule(parsing: "1x1,2x3,4x6")
    let tokenizer = RandomModels.tokenizer(phi)
    try withInferenceMode {
      let pyramid = try tokenizer.encode(pictures(schedule), schedule: schedule)
      let input = tokenizer.quantizer.teacherInput(pyramid)
      #expect(input.shape == [2, 6 + 24, 8])
      let finest = Tensor.zeros([2, 24], dtype: .int64)
      let other = try TokenPyramid(
        schedule: schedule, scales: Array(pyramid.scales.prefix(2)) + [finest])
      #expect(try tokenizer.quantizer.teacherInput(other).isEqual(to: input))
      #expect(try !tokenizer.decode(other).isEqual(to: tokenizer.decode(pyramid)))
    }
  }

  @Test func theBatchDoesNotMatter() throws {
    let schedule = try ScaleSchedule(parsing: "1,2,4")
    let tokenizer = RandomModels.tokenizer()
    try withInferenceMode {
      let image = pictures(schedule)
      let both = try tokenizer.encode(image, schedule: schedule)
      for index in 0..<2 {
        let alone = try tokenizer.encode(image.slice(0, index..<index + 1), schedule: schedule)
        #expect(try alone.flattened.isEqual(to: both.flattened.slice(0, index..<index + 1)))
      }
      #expect(try !both.flattened[0].isEqual(to: both.flattened[1]))
    }
  }

  @Test func aPictureOfAnotherSizeIsRefused() throws {
    let tokenizer = RandomModels.tokenizer()
    let schedule = try ScaleSchedule(parsing: "1,2x3")
    for shape in [[1, 3, 4, 4], [1, 3, 6, 4], [1, 3, 2, 3]] {
      expectFailure(.mismatch, "\(shape[2]) × \(shape[3]) pixels", "2 × 3 tokens of 2 pixels") {
        _ = try tokenizer.encode(.zeros(shape), schedule: schedule)
      }
    }
    #expect(try tokenizer.encode(.zeros([1, 3, 4, 6]), schedule: schedule).batch == 1)
  }
}
