import Synchronization
import Torch

/// Draws images scale by scale with fused kernels and CUDA graphs, as ``Sampler`` does with readable operations.
final class FusedSampler {
  private let sampling: GraphedSampling
  private let images: Int
  private let count: Int
  private let pool: FusedModel
  private var k = 0
  private var hasFailed = false

  fileprivate init(_ sampling: GraphedSampling, images: Int, count: Int, pool: FusedModel) {
    (self.sampling, self.images, self.count, self.pool) = (sampling, images, count, pool)
  }

  deinit {
    if !hasFailed { pool.take(back: sampling) }
  }

  /// The next scale's tokens `[B, n]` and f̂ with it `[B, Cvae, h, w]`; nil after the last.
  func next() throws -> (index: Int, tokens: Tensor, fHat: Tensor)? {
    guard k < count else { return nil }
    let (tokens, fHat) = try drawScale()
    // Copies, as graphs write to the same place again.
    return (k - 1, tokens.slice(0, 0..<images).clone(), fHat.slice(0, 0..<images).clone())
  }

  /// Draws the next scale for those after it alone.
  func pass() throws {
    guard k < count else { return }
    _ = try drawScale()
  }

  private func drawScale() throws -> (tokens: Tensor, fHat: Tensor) {
    do {
      let scale = try sampling.scale(k)
      k += 1
      return scale
    } catch {
      hasFailed = true
      if (error as? TorchError)?.kind == .outOfMemory { pool.releaseGraphs() }
      throw error
    }
  }
}

/// A transformer and a tokenizer as a GPU runs them fastest, with the graphs recorded so far.
final class FusedModel: @unchecked Sendable {
  private let readable: Transformer
  let transformer: FusedTransformer
  private let quantizer: Quantizer
  let decoding: GraphedDecoding
  /// Graphs that no sampler uses now, by what they are for.
  private let free = Mutex<[GraphedSampling.Form: [GraphedSampling]]>([:])

  /// Nil where the readable path has to do: on a CPU, in float32, or for a tokenizer of unusual widths.
  ///
  /// - Parameter float8: multiplies in 8 bits where that is faster.
  /// - Throws: `TorchError` where the kernels cannot be compiled.
  init?(_ transformer: Transformer, _ tokenizer: Tokenizer, float8: Bool = false) throws {
    guard let fused = try FusedTransformer.make(transformer, float8: float8),
      fused.kernels.draws(vocabulary: transformer.configuration.vocabulary),
      let decoder = FusedDecoder(tokenizer)
    else { return nil }
    (readable, self.transformer) = (transformer, fused)
    quantizer = tokenizer.quantizer
    decoding = GraphedDecoding(decoder)
  }

  /// One class, one seed and the settings of every image; none of them may ask for smooth sampling.
  ///
  /// - Parameter given: Tokens that are not drawn, and mixed with none; nil to draw them all.
  func sampler(
    labels: [Int], seeds: [UInt64], given: GivenTokens? = nil, settings: [SamplingSettings]
  ) throws -> FusedSampler {
    precondition(labels.count == seeds.count && labels.count == settings.count && !labels.isEmpty)
    precondition(!settings.contains(where: \.smooth) && given?.mixes != true)
    let form = GraphedSampling.Form(
      batch: PaddedBatch.size(for: labels.count), takesGiven: given != nil)
    let known = free.withLock { $0[form]?.popLast() }
    let sampling = try known ?? makeSampling(form)
    let sampler = FusedSampler(
      sampling, images: labels.count, count: readable.configuration.schedule.count, pool: self)
    sampling.begin(labels: labels, seeds: seeds, given: given, settings: settings)
    return sampler
  }

  /// Where the graphs of other forms leave no memory, they give way.
  private func makeSampling(_ form: GraphedSampling.Form) throws -> GraphedSampling {
    // One whose memory could not be had must not come back for the next request.
    func make() throws -> GraphedSampling {
      try withTorchErrors { GraphedSampling(transformer, readable, quantizer, form) }
    }
    do { return try make() } catch let error as TorchError where error.kind == .outOfMemory {
      releaseGraphs()
      return try make()
    }
  }

  /// Gives back the memory of all graphs that no sampler uses now.
  fileprivate func releaseGraphs() {
    free.withLock { $0 = [:] }
    decoding.release()
  }

  fileprivate func take(back sampling: GraphedSampling) {
    // One of each form is worth its memory; more come only from runs that overlap.
    free.withLock { $0[sampling.form] = [sampling] }
  }
}
