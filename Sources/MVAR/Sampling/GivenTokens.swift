import Torch

// B images, n_k tokens of scale k, Cvae the length of a code.

/// Tokens that a sampler is given and need not draw, place by place: teacher forcing under a mask
/// (VAR, arXiv 2404.02905, section 5.2; `replace_embedding` of its editing notebook).
struct GivenTokens {
  /// For each scale, `[B, n_k]` int64.
  let tokens: [Tensor]
  /// For each scale, how much of what is drawn enters f̂: `[B, n_k, 1]` float32 in [0, 1].
  private let shares: [Tensor]
  /// Whether there may be codes that are neither of the two.
  let mixes: Bool

  /// - Parameters:
  ///   - pyramid: What is given.
  ///   - drawn: For each scale `[B, n_k]` float32, 0 where the given token stands, 1 where one is drawn.
  ///     Between them their codes are mixed.
  ///   - mixes: Whether there is anything between them.
  init(_ pyramid: TokenPyramid, drawn: [Tensor], mixes: Bool = true) {
    precondition(drawn.map(\.shape) == pyramid.scales.map(\.shape))
    tokens = pyramid.scales
    shares = drawn.map { $0.unsqueeze(-1) }
    self.mixes = mixes
  }

  /// Where the given token stands, `[B, n_k]`.
  func isGiven(scale k: Int) -> Tensor { shares[k].squeeze(-1) .< 0.5 }

  /// The tokens `[B, n_k]` that stand, and their codes `[B, n_k, Cvae]`, of those drawn and those given.
  ///
  /// Where the share is 0 or 1, the code is one of the two, to the bit.
  func mixed(
    _ drawn: Tensor, _ codes: Tensor, scale k: Int, codebook: Tensor
  ) -> (tokens: Tensor, codes: Tensor) {
    let (share, given) = (shares[k], tokens[k])
    let mixture = codes * share + codebook.embedding(given) * (-share + 1)
    return (isGiven(scale: k).choosing(given, else: drawn), mixture)
  }
}
