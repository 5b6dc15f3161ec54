import FeatureNetworks
import Foundation
import MVAR
import Testing
import Torch
import TorchTestSupport

@testable import MVARTraining

/// LPIPS as a loss, and runs that have a perceptual network.
@Suite struct PerceptualNetworkTests {
  init() throws { try LibTorch.load() }

  @Test func lpipsIsTheMeanOfTheDistances() throws {
    let folder = try TemporaryFolder()
    let files = try LPIPSFiles(LPIPSFixture.write(.two, in: folder.path))
    let (a, b) = (LPIPSFixture.pixels(5), LPIPSFixture.pixels(100))
    a.setRequiresGradient()
    b.setRequiresGradient()
    let network = try LPIPSPerception(files: files, device: .cpu)
    let loss = network.distance(a, from: b)
    let expected = try LPIPSFixture.tensor("distance").mean(0).item()
    #expect(abs(try loss.item() - expected) < 1e-4 * expected)
    loss.backward()
    let gradient = try #require(a.gradient).slice(0, 0..<1) * 3
    #expect(try relativeDistance(gradient, LPIPSFixture.tensor("gradient")) < 1e-4)
    #expect(b.gradient == nil)

    // In bfloat16 each of 13 layers rounds to 8 bits, and the distance is of differences of them.
    let coarse = try LPIPSPerception(files: files, precision: .bfloat16, device: .cpu)
    let rounded = coarse.distance(a.detached(), from: b.detached())
    #expect(rounded.dtype == .float32)
    #expect(abs(try rounded.item() - expected) < 0.02 * expected)
  }

  /// Squared differences, as the eye of someone who needs four pixels or more.
  private final class SquaredDifference: PerceptualNetwork {
    let smallestSide: Int

    init(smallestSide: Int) { self.smallestSide = smallestSide }

    func distance(_ pixels: Tensor, from original: Tensor) -> Tensor {
      (pixels - original).power(2).mean()
    }
  }

  /// - Returns: The names that a perceptual network was asked for.
  private func run(
    _ out: String, on data: PictureFolder, resumes: Bool = false, sees side: Int = 4,
    change: @escaping @Sendable (inout TokenizerTrainingSettings) -> Void
  ) async throws -> [String?] {
    var options = TokenizerTrainingOptions(out: out)
    options.compute = ComputeOptions(precision: .float32, place: .cpu, threads: 1)
    options.resumes = resumes
    let names = Names()
    _ = try await TokenizerTraining().run(
      options, data: PictureDataSet(data.path, labels: .ignored),
      settings: { settings in
        if !resumes {
          settings.resolution = 8
          settings.recipe = .evaluation(side: 8)
          (settings.multipliers, settings.residualBlocks) = ([1, 1], 1)
          (settings.attention, settings.adversarialWeight) = (false, 0)
          (settings.codes, settings.codeWidth, settings.phis) = (16, 4, 1)
          (settings.batch, settings.steps) = (4, 1)
        }
        change(&settings)
      },
      perceptual: { name, _, _ in
        names.add(name)
        return SquaredDifference(smallestSide: side)
      }, events: { _ in })
    return names.all
  }

  private final class Names: @unchecked Sendable {
    private let lock = NSLock()
    private var names: [String?] = []
    var all: [String?] { lock.withLock { names } }
    func add(_ name: String?) { lock.withLock { names.append(name) } }
  }

  @Test func aRunThatGoesOnKeepsItsNetwork() async throws {
    let data = try PictureFolder.classes(["a"], count: 4)
    let folder = try TemporaryFolder()
    let out = folder.file("run")
    #expect(try await run(out, on: data) { $0.perceptual = "lpips:a,b" } == ["lpips:a,b"])
    let curves = try RunCurves(out).curves
    #expect(curves["train/perceptual"]?.steps == [1])
    #expect(
      try await run(out, on: data, resumes: true) { $0.steps = 2 } == ["lpips:a,b"])
    // Its files have moved.
    let moved = try await run(out, on: data, resumes: true) {
      ($0.steps, $0.perceptual) = (3, "lpips:c/both")
    }
    #expect(moved == ["lpips:c/both"])
    await #expect {
      _ = try await run(out, on: data, resumes: true) { $0.perceptual = nil }
    } throws: { "\($0)".contains("perceptual is lpips:c/both, not by default") }
  }

  @Test func picturesThatItCannotSee() async throws {
    let data = try PictureFolder.classes(["a"], count: 4)
    let folder = try TemporaryFolder()
    await #expect {
      _ = try await run(folder.file("run"), on: data, sees: LPIPS.smallestSide) { _ in }
    } throws: {
      ($0 as? TrainingError)?.kind == .setting
        && "\($0)".contains(
          "resolution is 8, and the perceptual network sees pictures of 16 pixels")
    }
  }
}
