import FeatureNetworks
import Foundation
import MVAR
import Testing
import Torch
import TorchTestSupport

@Suite struct EfficientNetTests {
  init() throws { try LibTorch.load() }

  private func network(folded: Bool = true) throws -> EfficientNetLite0 {
    let parameters = Parameters(FormulaSource(), dtype: .float32, device: .cpu)
    let network = EfficientNetLite0(parameters, folded: folded)
    try parameters.finish()
    return network
  }

  @Test(arguments: [true, false])
  func agreesWithThePublishedCode(folded: Bool) throws {
    let network = try network(folded: folded)
    let image = Expected.enlarged(0..<3)
    let features = network.features(of: image)
    // Some 50 layers, each of which rounds.
    #expect(try relativeDistance(features, Expected.tensor("efficientnet.features")) < 2e-5)
    let logits = network.logits(ofFeatures: features)
    #expect(try relativeDistance(logits, Expected.tensor("efficientnet.logits")) < 2e-5)
    let taps = network.taps(of: image)
    #expect(taps.map { $0.length(1) } == [32, 16, 24, 40, 112, 320])
    #expect(taps.map { $0.length(2) } == [112, 112, 56, 28, 14, 7])
    for (index, tap) in taps.dropFirst().enumerated() {
      let expected = try Expected.tensor("efficientnet.tap.\(index)")
      #expect(try relativeDistance(tap.mean(2, 3), expected) < 2e-5)
    }
  }

  @Test(arguments: [(61, 67), (64, 64), (96, 33)])
  func anySize(height: Int, width: Int) throws {
    let image = (Tensor.randn([2, 3, height, width], seed: 1) * 0.5).clamped(-1, 1)
    let (fast, plain) = (try network(), try network(folded: false))
    for (a, b) in zip(fast.taps(of: image), plain.taps(of: image)) {
      #expect(try relativeDistance(a, b) < 2e-5)
    }
    #expect(fast.taps(of: image, after: [3]).map(\.rank) == [4, 4])
  }

  @Test func batchPositionIsIrrelevant() throws {
    let network = try network()
    let image = Expected.enlarged(0..<3)
    let alone = network.features(of: image.slice(0, 1..<2))
    #expect(try relativeDistance(network.features(of: image).slice(0, 1..<2), alone) < 1e-5)
  }

  @Test(.enabled(if: NetworkFile.found(.efficientNetLite0) != nil))
  func publishedWeights() throws {
    let network = try EfficientNetLite0.load(NetworkFile(.efficientNetLite0))
    // A red ball on green: without the file's strides all outputs would be alike.
    let image = Self.picture { x, y in
      x * x + y * y < 0.25 ? (0.8, -0.7, -0.8) : (-0.6, 0.2, -0.6)
    }
    let other = Self.picture { x, y in (sin(x * 40), sin(y * 40), 0) }
    let logits = network.logits(
      ofFeatures: network.features(of: Tensor.concatenate([image, other], axis: 0)))
    let classes = try logits.argmax(1).elements(as: Int.self)
    #expect(classes[0] != classes[1])
    #expect(try logits.max(1).min(0).item() > 3)
  }

  private static func picture(_ color: (Double, Double) -> (Double, Double, Double)) -> Tensor {
    var planes: [[Float]] = [[], [], []]
    for y in 0..<224 {
      for x in 0..<224 {
        let (r, g, b) = color(Double(x) / 112 - 1, Double(y) / 112 - 1)
        planes[0].append(Float(r))
        planes[1].append(Float(g))
        planes[2].append(Float(b))
      }
    }
    return .of(planes.flatMap { $0 }, shape: [1, 3, 224, 224])
  }
}
