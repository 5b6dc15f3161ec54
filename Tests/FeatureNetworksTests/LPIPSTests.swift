import MVAR
import Testing
import Torch
import TorchTestSupport

@testable import FeatureNetworks

@Suite struct LPIPSTests {
  private let folder: TemporaryFolder

  init() throws {
    try LibTorch.load()
    folder = try TemporaryFolder()
  }

  private func byFormula() -> LPIPS {
    let parameters = Parameters(LPIPSFixture.source(), dtype: .float32, device: .cpu)
    return LPIPS(VGG16(parameters), linear: parameters)
  }

  @Test(arguments: LPIPSFixture.Files.allCases)
  func agreesWithThePublishedPackage(files: LPIPSFixture.Files) throws {
    let paths = try LPIPSFixture.write(files, in: folder.path)
    let lpips = try LPIPS.load(LPIPSFiles(parsing: paths.joined(separator: ",")))
    let (a, b) = (LPIPSFixture.pixels(5), LPIPSFixture.pixels(100))
    a.setRequiresGradient()
    let distances = lpips(a, b)
    #expect(distances.shape == [3])
    #expect(try relativeDistance(distances, LPIPSFixture.tensor("distance")) < 2e-5)
    let layers = lpips.layers(lpips.features(of: a), lpips.features(of: b))
    for (index, layer) in layers.enumerated() {
      let expected = try LPIPSFixture.tensor("layers").select(1, index)
      #expect(try relativeDistance(layer, expected) < 2e-5, "layer \(index)")
    }
    let gradient = try #require(distances.sum(0).gradients(of: [a])[0]).slice(0, 0..<1)
    #expect(try relativeDistance(gradient, LPIPSFixture.tensor("gradient")) < 1e-4)
  }

  @Test func theOrderOfTheFilesDoesNotMatter() throws {
    let vgg = try file("a.safetensors", ["features.0.weight": [1]])
    let linear = try file("b.safetensors", ["lin0.model.1.weight": [1]])
    let files = try LPIPSFiles([linear, vgg])
    #expect(try files == LPIPSFiles([vgg, linear]))
    #expect(files.convolutions.file == vgg && files.linear.file == linear)
  }

  @Test func aCommaInTheNameOfOneFile() throws {
    let both = try file(
      "a,b.safetensors", ["net.slice1.0.weight": [1], "lin0.model.1.weight": [1]])
    #expect(try LPIPSFiles(parsing: both).linear.file == both)
  }

  @Test func aPictureIsLikeItself() throws {
    let lpips = byFormula()
    let a = LPIPSFixture.pixels(5)
    a.setRequiresGradient()
    let distances = lpips(a, a.detached().clone())
    #expect(try distances.absolute().max(0).item() == 0)
    let gradient = try #require(distances.sum(0).gradients(of: [a])[0])
    #expect(try gradient.absolute().reshape(-1).max(0).item() == 0)
  }

  /// Places where no channel answers have no direction, and must give no gradient that is no number.
  @Test func deadPlaces() throws {
    let x = Tensor.zeros([1, 4, 2, 2])
    x.setRequiresGradient()
    let loss = (x.unitChannels() - Tensor.ones([1, 4, 2, 2]).unitChannels()).power(2).sum()
    #expect(abs(try loss.item() - 4) < 1e-5)
    let gradient = try #require(loss.gradients(of: [x])[0])
    #expect(try gradient.isFinite().to(.float32).reshape(-1).min(0).item() == 1)
  }

  @Test func orderAndPositionInTheBatchAreIrrelevant() throws {
    let lpips = byFormula()
    let (a, b) = (LPIPSFixture.pixels(5), LPIPSFixture.pixels(100))
    let distances = lpips(a, b)
    #expect(try relativeDistance(lpips(b, a), distances) < 1e-5)
    let last = lpips(a.slice(0, 2..<3), b.slice(0, 2..<3))
    #expect(try relativeDistance(last, distances.slice(0, 2..<3)) < 1e-5)
  }

  @Test(arguments: [(16, 16), (17, 40)])
  func smallAndOddPictures(height: Int, width: Int) throws {
    let lpips = byFormula()
    let a = (Tensor.randn([1, 3, height, width], seed: 1) * 0.5).clamped(-1, 1)
    let features = lpips.features(of: a)
    #expect(features.map { $0.length(1) } == VGG16.widths)
    #expect(features.map { $0.length(2) } == (0..<5).map { height >> $0 })
    #expect(features.map { $0.length(3) } == (0..<5).map { width >> $0 })
    let (near, far) = (lpips(a, (a + 0.01).clamped(-1, 1)), lpips(a, a * -1))
    #expect(try near.item() > 0 && near.item() < 0.1 * far.item())
  }

  // MARK: Bad input

  /// A file of zeros.
  private func file(_ name: String, _ shapes: [String: [Int]]) throws -> String {
    let path = folder.file(name)
    try TensorFile.write(
      shapes.sorted { $0.key < $1.key }.map { ($0.key, .zeros($0.value)) }, to: path)
    return path
  }

  private func expectError(
    _ parts: String..., at location: SourceLocation = #_sourceLocation, _ body: () throws -> Void
  ) {
    let error = #expect(throws: (any Error).self, sourceLocation: location) { try body() }
    let text = error.map { "\($0)" } ?? ""
    for part in parts { #expect(text.contains(part), "\(text)", sourceLocation: location) }
    #expect(!text.contains("\n"), sourceLocation: location)
  }

  @Test func aMissingFile() throws {
    expectError("/nowhere/vgg16.pth", "check the path") {
      _ = try LPIPSFiles(parsing: "/nowhere/vgg16.pth")
    }
    let vgg = try file("vgg16.safetensors", ["features.0.weight": [1]])
    expectError("/nowhere/vgg.pth", "check the path") {
      _ = try LPIPSFiles(parsing: "\(vgg),/nowhere/vgg.pth")
    }
  }

  @Test(arguments: ["", ",", "a.pth,", "a.pth,b.pth,c.pth"])
  func neitherOneFileNorTwo(text: String) {
    expectError(text.isEmpty ? "empty" : text, "VGG_FILE,LINEAR_FILE") {
      _ = try LPIPSFiles(parsing: text)
    }
  }

  @Test func aPartThatWasForgotten() throws {
    let vgg = try file("vgg16.safetensors", ["features.0.weight": [64, 3, 3, 3]])
    expectError(vgg, "lin0.model.1.weight", "weights/v0.1/vgg.pth", "VGG_FILE,LINEAR_FILE") {
      _ = try LPIPSFiles(parsing: vgg)
    }
    let linear = try file("vgg.safetensors", ["lin0.model.1.weight": [1, 64, 1, 1]])
    expectError(linear, "features.0.weight", "vgg16-397923af.pth", "VGG_FILE,LINEAR_FILE") {
      _ = try LPIPSFiles(parsing: linear)
    }
    // Both files are there, but one is another.
    let other = try file("other.safetensors", ["conv1.weight": [1]])
    expectError(vgg, other, "lin0.model.1.weight") { _ = try LPIPSFiles([vgg, other]) }
    expectError(linear, other, "net.slice1.0.weight") { _ = try LPIPSFiles([other, linear]) }
  }

  @Test func theFilesOfAnotherNetwork() throws {
    let widths = [64, 192, 384, 256, 256]
    func linear(_ widths: [Int]) throws -> String {
      try file(
        "linear-\(widths[1]).safetensors",
        Dictionary(
          uniqueKeysWithValues: widths.enumerated().map {
            ("lin\($0).model.1.weight", [1, $1, 1, 1])
          }))
    }
    let alexNet = try file(
      "alexnet.safetensors", ["features.0.weight": [64, 3, 11, 11], "features.0.bias": [64]])
    expectError(
      "linear-192", "lin1.model.1.weight is [1, 192, 1, 1] and should be [1, 128, 1, 1]",
      "weights/v0.1/vgg.pth"
    ) { _ = try LPIPS.load(LPIPSFiles([alexNet, linear(widths)])) }
    expectError(
      alexNet, "missing: features.2.weight",
      "features.0.weight is [64, 3, 11, 11] and should be [64, 3, 3, 3]", "vgg16-397923af.pth"
    ) { _ = try LPIPS.load(LPIPSFiles([alexNet, linear(VGG16.widths)])) }
  }
}
