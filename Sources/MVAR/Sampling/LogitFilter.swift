import Torch

/// Limits which tokens may be drawn (`sample_with_top_k_top_p_`, `models/helpers.py`).
struct LogitFilter {
  let topK: Int
  let topP: Double

  /// −∞ for tokens that may not be drawn; first by rank, then by probability.
  ///
  /// Only as many tokens as rank allows are put in order, which is most of the work.
  ///
  /// - Parameter logits: `[…, V]`, float32.
  func callAsFunction(_ logits: Tensor) -> Tensor {
    let V = logits.length(-1)
    let count = topK > 0 ? min(topK, V) : V
    guard count < V || topP < 1 else { return logits }
    let ranked = logits.largest(count).values
    let last = topP < 1 ? leastLikely(ranked) : ranked.slice(-1, (count - 1)..<count)
    return logits.filled(where: logits .< last, with: -.infinity)
  }

  /// The smallest logit that probability allows: a token stays if those before it have less than p.
  ///
  /// The reference adds up from the other end and removes what has 1 − p or less together.
  private func leastLikely(_ ranked: Tensor) -> Tensor {
    let probabilities = ranked.softmax()
    let before = probabilities.cumulativeSum(-1) - probabilities
    // The likeliest stays, whatever p: a float32 may hold no number as small.
    let limit = max(topP, Double(Float.leastNormalMagnitude))
    let kept = (before .< limit).sum(-1, keepingAxes: true)
    return ranked.gathered(-1, (kept - 1).to(.int64))
  }
}
