import Foundation
import FeatureNetworks
@testable import MVAR
@testable import MVAREvaluation
import Pictures
import Testing
import Torch
import TorchTestSupport

@Suite struct PictureFidelityTests {
  init() throws { try LibTorch.load() }

  private func image(_ seed: UInt64, _ height: Int, _ width: Int) -> Tensor {
    (Tensor.randn([2, 3, height, width], seed: seed) * 60 + 128).clamped(0, 255)
  }

  @Test func psnr() throws {
    let a = Tensor.full([2, 3, 4, 4], 100)
    let b = Tensor.concatenate([a.slice(0, 0..<1) + 5, a.slice(0, 0..<1)], axis: 0)
    let found = try PictureFidelity.psnr(a, b).elements(as: Double.self)
    #expect(abs(found[0] - 10 * log10(255 * 255 / 25)) < 1e-9)
    #expect(abs(found[1] - PictureFidelity.highestPSNR) < 1e-9)
  }

  /// Window by window, from the paper.
  private func direct(_ a: [Double], _ b: [Double], _ height: Int, _ width: Int) -> Double {
    let side = min(11, height, width)
    let window = (0..<side).map { exp(-pow((Double($0) - Double(side - 1) / 2) / 1.5, 2) / 2) }
    let sum = window.reduce(0, +)
    var total = 0.0
    var places = 0
    for top in 0...height - side {
      for left in 0...width - side {
        var (ma, mb, aa, bb, ab) = (0.0, 0.0, 0.0, 0.0, 0.0)
        for y in 0..<side {
          for x in 0..<side {
            let w = window[y] * window[x] / (sum * sum)
            let (p, q) = (a[(top + y) * width + left + x], b[(top + y) * width + left + x])
            (ma, mb) = (ma + w * p, mb + w * q)
            (aa, bb, ab) = (aa + w * p * p, bb + w * q * q, ab + w * p * q)
          }
        }
        let (c1, c2): (Double, Double) = (6.5025, 58.5225)
        total +=
          (2 * ma * mb + c1) * (2 * (ab - ma * mb) + c2)
          / ((ma * ma + mb * mb + c1) * (aa - ma * ma + bb - mb * mb + c2))
        places += 1
      }
    }
    return total / Double(places)
  }

  @Test(arguments: [(13, 15), (11, 11), (7, 20)])
  func ssim(height: Int, width: Int) throws {
    let a = image(1, height, width)
    let b = (a + Tensor.randn([2, 3, height, width], seed: 2) * 30).clamped(0, 255)
    let found = try PictureFidelity.ssim(a, b).elements(as: Double.self)
    for picture in 0..<2 {
      let channels = try (0..<3).map { c in
        try direct(
          a[picture][c].elements(as: Double.self), b[picture][c].elements(as: Double.self), height,
          width)
      }
      #expect(abs(found[picture] - channels.reduce(0, +) / 3) < 1e-9)
    }
    #expect(abs(try PictureFidelity.ssim(a, a).min(0).item() - 1) < 1e-12)
  }

  @Test func perceptualDistance() throws {
    let network = EfficientNetLite0(
      Parameters(FormulaSource(), dtype: .float32, device: .cpu))
    let distance = PerceptualDistance(network)
    let a = Expected.enlarged(0..<2)
    #expect(try distance(a, a).max(0).item() == 0)
    let near = (a + Tensor.randn(a.shape, seed: 1) * 0.02).clamped(-1, 1)
    let far = (a + Tensor.randn(a.shape, seed: 1) * 0.5).clamped(-1, 1)
    let (small, large) = (distance(a, near), distance(a, far))
    #expect(small.shape == [2])
    #expect(try (small / large).max(0).item() < 0.5)
    #expect(try small.min(0).item() > 0)
  }
}

@Suite struct ReconstructionEvaluationTests {
  let folder: TemporaryFolder

  init() throws {
    folder = try TemporaryFolder()
    try LibTorch.load()
  }

  @Test func wholePath() async throws {
    let options = ComputeOptions(precision: .float32, place: .cpu, threads: 2)
    let tokenizer = try await PictureTokenizer(Golden.tokenizerFile, options: options)
    let schedule = try Golden.mvar64.schedule()
    let size = tokenizer.pictureSize(schedule)
    let source = try PictureFolder(
      folder.pictures("a", 0..<5), fitting: .init(side: size.width, fit: .stretch))
    let evaluation = ReconstructionEvaluation(
      tokenizer: tokenizer, evaluator: try await MeansNetwork.evaluator(),
      fidelity: try FidelityMeter(efficientNet: nil, options: options))
    let result = try await evaluation.run(source, schedule: schedule, batch: 2)
    // By hand.
    let pictures = try await source.pictures(0..<5)
    let tokens = try await tokenizer.tokens(of: pictures, schedule: schedule)
    let copies = try await tokenizer.pictures(of: tokens)
    let a = Tensor.bytes(of: pictures, device: .cpu).to(.float32)
    let b = Tensor.bytes(of: copies, device: .cpu).to(.float32)
    #expect(abs(result.psnr - (try PictureFidelity.psnr(a, b).mean(0).item())) < 1e-6)
    #expect(abs(result.ssim - (try PictureFidelity.ssim(a, b).mean(0).item())) < 1e-9)
    #expect(result.perceptual == nil && result.lpips == nil)
    #expect(result.distance.frechetDistance > 0 && result.distance.count == 5)
    #expect(result.codebook.count == schedule.count + 1)
    #expect(result.codebook.map(\.tokens).dropLast() == schedule.sizes.map { 5 * $0.count }[...])
  }

  @Test func lpips() async throws {
    let files = try LPIPSFiles(LPIPSFixture.write(.one, in: folder.path))
    let options = ComputeOptions(precision: .float32, place: .cpu, threads: 2)
    let meter = try FidelityMeter(efficientNet: nil, lpips: files, options: options)
    let (pictures, copies) = (Expected.pictures(0..<3), Expected.pictures(100..<103))
    try await meter.add(Array(pictures.prefix(2)), Array(copies.prefix(2)))
    try await meter.add(Array(pictures.suffix(1)), Array(copies.suffix(1)))
    let means = try await meter.means()
    let network = try LPIPS.load(files)
    let distances = network(
      Tensor.bytes(of: pictures, device: .cpu).to(.float32) / 127.5 - 1,
      Tensor.bytes(of: copies, device: .cpu).to(.float32) / 127.5 - 1)
    let expected = try distances.mean(0).item()
    #expect(abs(try #require(means.lpips) - expected) < 1e-5 * expected)
    #expect(means.perceptual == nil)
    let small = Picture(width: 15, height: 20, filledWith: .black)
    await #expect { try await meter.add([small], [small]) } throws: {
      "\($0)".contains("15 × 20") && "\($0)".contains("LPIPS sees 16")
    }
  }

  @Test func codebookUse() throws {
    let schedule = try ScaleSchedule(squares: [1, 2])
    var use = CodebookUse(vocabulary: 8)
    for _ in 0..<2 {
      use.add(
        PictureTokens(schedule: schedule, count: 2, scales: [[3, 3], [0, 1, 2, 3, 0, 1, 2, 3]]))
    }
    let usages = use.usages
    #expect(usages.map(\.scale) == ["1x1", "2x2", "all"])
    #expect(usages.map(\.codes) == [1, 4, 4])
    #expect(usages.map(\.tokens) == [4, 16, 20])
    #expect(abs(usages[0].perplexity - 1) < 1e-12 && abs(usages[1].perplexity - 4) < 1e-12)
    #expect(usages[1].share == 0.5)
  }
}
