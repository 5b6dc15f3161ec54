import Foundation
import MVAR

/// What decides which pictures a run generates and how they are measured; stored with the result, and
/// compared when a run goes on.
public struct GenerationSettings: Sendable, Equatable, Codable {
  public var model: String
  public var modelDigest: String
  public var tokenizer: String
  public var tokenizerDigest: String
  public var sampling: SamplingSettings
  /// Picture i has the seed S + i.
  public var seed: UInt64
  public var samples: Int
  /// Picture i is of class i modulo this.
  public var classes: Int
  public var dtype: String
  /// "cpu" or "cuda"; which of several GPUs makes no difference.
  public var device: String
  public var network: NetworkIdentity

  public init(
    model: String, modelDigest: String, tokenizer: String, tokenizerDigest: String,
    sampling: SamplingSettings, seed: UInt64, samples: Int, classes: Int, dtype: String,
    device: String, network: NetworkIdentity
  ) {
    (self.model, self.modelDigest) = (model, modelDigest)
    (self.tokenizer, self.tokenizerDigest) = (tokenizer, tokenizerDigest)
    (self.sampling, self.seed, self.samples) = (sampling, seed, samples)
    (self.classes, self.dtype, self.device, self.network) = (classes, dtype, device, network)
  }

  private enum CodingKeys: String, CodingKey {
    case model, tokenizer, sampling, seed, samples, classes, dtype, device, network
    case modelDigest = "model_sha256"
    case tokenizerDigest = "tokenizer_sha256"
  }

  public func request(_ index: Int) -> ImageRequest {
    ImageRequest(label: index % classes, seed: seed &+ UInt64(index))
  }

  /// Nil where every class has as many pictures.
  public var balanceWarning: String? {
    samples % classes == 0
      ? nil
      : "\(samples) pictures of \(classes) classes are not balanced; use a multiple of \(classes)"
  }

  /// The names and values of what differs from other settings; paths may.
  func differences(from other: GenerationSettings) -> [String] {
    func pair<T: Equatable>(_ name: String, _ path: KeyPath<GenerationSettings, T>) -> String? {
      let (ours, theirs) = (self[keyPath: path], other[keyPath: path])
      return ours == theirs ? nil : "\(name) \(theirs) where this one has \(ours)"
    }
    return [
      pair("model", \.modelDigest), pair("tokenizer", \.tokenizerDigest),
      pair("guidance", \.sampling.guidance), pair("top-k", \.sampling.topK),
      pair("top-p", \.sampling.topP), pair("smooth", \.sampling.smooth), pair("seed", \.seed),
      pair("samples", \.samples), pair("classes", \.classes), pair("dtype", \.dtype),
      pair("device", \.device), pair("network", \.network.digest),
      pair("preprocessing", \.network.preprocessing),
    ].compactMap { $0 }
  }
}

/// Which of several processes this one is.
public struct ProcessShare: Sendable, Equatable {
  public let rank: Int
  public let count: Int
  /// Among the processes of this machine; the number of the GPU.
  public let localRank: Int

  public init(rank: Int = 0, count: Int = 1, localRank: Int = 0) {
    (self.rank, self.count, self.localRank) = (rank, count, localRank)
  }

  /// What torchrun says in RANK, WORLD_SIZE and LOCAL_RANK; alone without them.
  ///
  /// - Throws: ``EvaluationError`` for numbers that cannot be.
  public init(environment: [String: String]) throws {
    func number(_ name: String, _ standard: Int) throws -> Int {
      guard let text = environment[name] else { return standard }
      guard let number = Int(text), number >= 0 else {
        throw EvaluationError(
          .invalidValue, name, "is \(text)", mend: "start the processes with torchrun --no-python")
      }
      return number
    }
    let (rank, count) = (try number("RANK", 0), try number("WORLD_SIZE", 1))
    guard count > 0, rank < count else {
      throw EvaluationError(
        .invalidValue, "RANK", "is \(rank) of WORLD_SIZE \(count)",
        mend: "start the processes with torchrun --no-python")
    }
    self.init(rank: rank, count: count, localRank: try number("LOCAL_RANK", 0))
  }

  public var isFirst: Bool { rank == 0 }

  /// This process's part of `total` things.
  public func range(of total: Int) -> Range<Int> {
    rank * total / count..<(rank + 1) * total / count
  }
}
