import Torch

/// Residual quantisation, coarse to fine (`VectorQuantizer2`, `models/quant.py`); all in float32.
public struct Quantizer {
  /// `[V, Cvae]`
  package let codebook: Tensor
  private let codeLengths: Tensor  // |e|², [V]
  let phi: Phi

  init(_ p: Parameters, _ configuration: TokenizerConfiguration) {
    codebook = (p / "embedding").tensor(
      "weight", configuration.vocabulary, configuration.codeChannels, dtype: .float32)
    codeLengths = (codebook * codebook).sum(1)
    phi = Phi(p / "quant_resi", configuration.phi, channels: configuration.codeChannels)
    p.skip("ema_vocab_hit_SV")
    p.skip("beta")
  }

  /// Features to tokens, scale by scale: each scale quantises what the coarser ones left over.
  ///
  /// - Parameter features: `[B, Cvae, H, W]` with the size of the schedule's finest map.
  package func tokens(_ features: Tensor, schedule: ScaleSchedule) -> TokenPyramid {
    tokens(features, schedule: schedule) { $1 }.right
  }

  /// The same where some tokens come out wrong, as a model's draws may.
  ///
  /// - Parameter spoiling: Gets the right tokens of a scale, `[B, n_k]`, and returns those that are put
  ///   in their place. Finer scales make up for them.
  /// - Returns: At each scale the right tokens after what stands in the coarser ones, and what stands.
  package func tokens(
    _ features: Tensor, schedule: ScaleSchedule, spoiling: (Int, Tensor) -> Tensor
  ) -> (right: TokenPyramid, standing: TokenPyramid) {
    let (B, C, _, _) = features.shape4
    let rest = features.to(.float32).contiguous().clone()
    var (right, standing): ([Tensor], [Tensor]) = ([], [])
    for (k, size) in schedule.sizes.enumerated() {
      let map = k == schedule.count - 1 ? rest : rest.resizedArea(size.height, size.width)
      let tokens = nearest(map.permute(0, 2, 3, 1).reshape(-1, C)).reshape(B, size.count)
      right.append(tokens)
      standing.append(spoiling(k, tokens))
      rest.addInPlace(
        contribution(of: codebook.embedding(standing[k]), scale: k, schedule), scale: -1)
    }
    return (
      TokenPyramid(unchecked: right, schedule: schedule),
      TokenPyramid(unchecked: standing, schedule: schedule)
    )
  }

  /// The nearest code of every row of `z [n, Cvae]`: `[n]` int64.
  package func nearest(_ z: Tensor) -> Tensor {
    let lengths = (z * z).sum(1, keepingAxes: true) + codeLengths
    return lengths.adding(product: z, codebook.transposed, alpha: -2).argmin(1)
  }

  /// What one scale adds to f̂: its codes brought to the finest size, and φ of them.
  ///
  /// - Parameter codes: `[B, n_k, Cvae]`
  /// - Returns: `[B, Cvae, H, W]`
  package func contribution(of codes: Tensor, scale k: Int, _ schedule: ScaleSchedule) -> Tensor {
    let B = codes.length(0)
    // One picture after the other on a CPU: its convolutions round differently in batches, which the cut to bytes
    // would make visible.
    guard codes.device == .cpu, B > 1 else {
      return batchContribution(of: codes, scale: k, schedule)
    }
    return .concatenate(
      (0..<B).map { batchContribution(of: codes.slice(0, $0..<$0 + 1), scale: k, schedule) },
      axis: 0)
  }

  private func batchContribution(of codes: Tensor, scale k: Int, _ schedule: ScaleSchedule)
    -> Tensor
  {
    let (B, _, C) = codes.shape3
    let size = schedule.sizes[k]
    let map = codes.transpose(1, 2).reshape(B, C, size.height, size.width).contiguous()
    let isLast = k == schedule.count - 1
    let full = isLast ? map : map.resizedBicubic(schedule.final.height, schedule.final.width)
    return phi(full, scale: k, of: schedule.count)
  }

  /// What a transformer reads for scale `k` once all coarser scales are in f̂: `[B, n_k, Cvae]`.
  func input(fromFHat fHat: Tensor, scale k: Int, _ schedule: ScaleSchedule) -> Tensor {
    let (B, C, _, _) = fHat.shape4
    let size = schedule.sizes[k]
    let isLast = k == schedule.count - 1
    let map = isLast ? fHat : fHat.resizedArea(size.height, size.width)
    return map.reshape(B, C, size.count).transpose(1, 2)
  }

  /// f̂ after each of the first scales: `[B, Cvae, H, W]` each.
  package func fHats(_ pyramid: TokenPyramid) -> [Tensor] {
    let schedule = pyramid.schedule
    var fHat: Tensor?
    return schedule.sizes.indices.map { k in
      let added = contribution(of: codebook.embedding(pyramid.scales[k]), scale: k, schedule)
      let sum = fHat.map { $0 + added } ?? added
      fHat = sum
      return sum
    }
  }

  /// What a transformer reads when all tokens are known: `[B, L − n_0, Cvae]`.
  func teacherInput(_ pyramid: TokenPyramid) -> Tensor {
    guard pyramid.schedule.count > 1 else {
      return .zeros([pyramid.batch, 0, codebook.length(1)], device: codebook.device)
    }
    let fHats = fHats(pyramid)
    return .concatenate(
      (1..<pyramid.schedule.count).map {
        input(fromFHat: fHats[$0 - 1], scale: $0, pyramid.schedule)
      }, axis: 1)
  }
}
