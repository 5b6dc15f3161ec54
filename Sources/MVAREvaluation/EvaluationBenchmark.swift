import FeatureNetworks
import MVAR
import Torch

/// Measures how fast pictures are looked at and compared, with random weights of Inception's shape.
public struct EvaluationBenchmark: Sendable {
  public let evaluator: Evaluator

  /// - Throws: As ``Evaluator/init(_:options:batch:usesTF32:)``.
  public init(options: ComputeOptions = .init(), batch: Int? = nil, usesTF32: Bool = true)
    async throws
  {
    let identity = NetworkIdentity(
      metric: "none", network: "inception-v3, random", digest: "", preprocessing: "tensorflow")
    evaluator = try await Evaluator(
      .custom(identity) { device in
        let parameters = Parameters(BenchmarkWeights(), dtype: .float32, device: device)
        return try withTorchErrors {
          let network = InceptionV3(parameters)
          try parameters.finish()
          return InceptionFeatures(network: network)
        }
      }, options: options, batch: batch, usesTF32: usesTF32)
  }

  /// Pictures a second from bytes in memory to sums of features: copies to the device, the resize,
  /// Inception, and the covariances of 2,048 and 2,023 numbers.
  ///
  /// - Parameter side: Of the pictures, in pixels.
  public func picturesPerSecond(side: Int, batches: Int) async throws -> Double {
    try await evaluator.picturesPerSecond(side: side, batches: batches)
  }

  /// Seconds for precision and recall with k = 3, of features of so many numbers.
  public func secondsForNeighbours(real: Int, generated: Int, length: Int = 2048) async throws
    -> Double
  {
    try await evaluator.secondsForNeighbours(real: real, generated: generated, length: length)
  }

  /// Seconds for the Fréchet distance of two covariances of features of so many numbers.
  public func secondsForDistance(length: Int = 2048) async throws -> Double {
    try await evaluator.secondsForDistance(length: length)
  }
}

extension Evaluator {
  fileprivate func picturesPerSecond(side: Int, batches: Int) throws -> Double {
    let (batch, device) = (batch, device)
    return try computing {
      let bytes = ((Tensor.randn([batch, side, side, 3], seed: 1) * 50) + 128).clamped(0, 255)
        .to(.uint8)
      func run(_ batches: Int) throws -> Double {
        let builder = makeBuilder(
          MeasuringPlan(count: batches * batch, keepsFeatures: true))
        let start = ContinuousClock.now
        for _ in 0..<batches {
          try Task.checkCancellation()
          builder.add(try look(at: bytes.uploaded(to: device).permute(0, 3, 1, 2)))
        }
        _ = try builder.finish("benchmark") { "picture \($0)" }
        return start.duration(to: .now).inSeconds
      }
      // Libraries set themselves up at first; the end of a run copies results, which counts once.
      // A covariance needs two pictures.
      let least = device == .cpu && batch > 1 ? 1 : 2
      _ = try run(least)
      let (few, many) = (try run(least), try run(least + batches))
      return Double(batches * batch) / max(many - few, 1e-9)
    }
  }

  fileprivate func secondsForNeighbours(real: Int, generated: Int, length: Int) throws -> Double {
    try computing {
      func features(_ count: Int, _ seed: UInt64) -> Tensor {
        Tensor.concatenate(
          stride(from: 0, to: count, by: 10_000).map { start in
            Tensor.randn([min(10_000, count - start), length], seed: seed &+ UInt64(start))
              .to(device)
          }, axis: 0)
      }
      let (a, b) = (features(real, 1), features(generated, 1 << 40))
      let block = device == .cpu ? 2_500 : 10_000
      _ = try PrecisionRecall(
        real: a.slice(0, 0..<min(real, 100)), generated: b.slice(0, 0..<min(generated, 100)))
      let start = ContinuousClock.now
      _ = try PrecisionRecall(real: a, generated: b, block: block)
      return start.duration(to: .now).inSeconds
    }
  }

  fileprivate func secondsForDistance(length: Int) throws -> Double {
    try computing {
      let moments = (0..<2).map { index in
        let moments = MomentAccumulator(dimension: length, device: device)
        moments.add(Tensor.randn([2 * length, length], seed: UInt64(index + 1)).to(device))
        return moments
      }
      let (a, b) = (try moments[0].statistics("a"), try moments[1].statistics("b"))
      let start = ContinuousClock.now
      _ = try FrechetDistance(to: a, device: device)(b)
      return start.duration(to: .now).inSeconds
    }
  }
}

/// Random numbers, and variances of 1.
private final class BenchmarkWeights: ParameterSource {
  private let random = RandomSource(seed: 1)

  var names: [String]? { nil }

  func shape(of name: String, expected: [Int]) -> [Int]? { expected }

  func tensor(_ name: String, shape: [Int], dtype: DType, device: Device) throws -> Tensor {
    name.hasSuffix("running_var")
      ? .ones(shape, dtype: dtype, device: device)
      : try random.tensor(name, shape: shape, dtype: dtype, device: device)
  }
}

extension Duration {
  fileprivate var inSeconds: Double {
    Double(components.seconds) + Double(components.attoseconds) * 1e-18
  }
}
