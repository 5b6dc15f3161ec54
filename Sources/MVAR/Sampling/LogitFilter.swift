import Torch

/// Limits which tokens may be drawn (`sample_with_top_k_top_p_`, `models/helpers.py`).
struct LogitFilter {
  let topK: Int
  let topP: Double

  /// −∞ for tokens that may not be drawn; first by rank, then by probability.
  ///
  /// - Parameter logits: `[…, V]`, float32.
  func callAsFunction(_ logits: Tensor) -> Tensor { byProbability(byRank(logits)) }

  private func byRank(_ logits: Tensor) -> Tensor {
    guard topK > 0, topK < logits.length(-1) else { return logits }
    let threshold = logits.largest(topK).values.slice(-1, (topK - 1)..<topK)
    return logits.filled(where: logits .< threshold, with: -.infinity)
  }

  /// Removes the least likely tokens, as many as together have a probability of 1 − p; never the
  /// likeliest.
  private func byProbability(_ logits: Tensor) -> Tensor {
    guard topP < 1 else { return logits }
    let V = logits.length(-1)
    let (sorted, order) = logits.sorted()
    let removed = sorted.softmax().cumulativeSum(-1) .<= (1 - topP)
    removed.slice(-1, (V - 1)..<V).fillInPlace(0)
    return logits.filled(where: removed.scattered(-1, order, removed), with: -.infinity)
  }
}
