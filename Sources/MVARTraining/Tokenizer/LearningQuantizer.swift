import MVAR
import Torch

// B pictures, C the length of a code, H W the finest map, K scales, V codes, n_k tokens of scale k.

/// What quantising features under training gives.
struct Quantization {
  /// What the decoder reads, `[B, C, H, W]`; its gradient goes to the features as it is
  /// (straight-through estimator, arXiv 1308.3432).
  let decoded: Tensor
  /// The mean over the scales of what codes and features are drawn to each other by; one element.
  let loss: Tensor
  /// How often each code was used at each scale, `[K, V]` float32.
  let hits: Tensor
  /// What was quantised at each scale, `[B · n_k, C]`.
  let inputs: [Tensor]
}

extension Quantizer {
  /// Quantises features so that gradients reach features, codes and φ (`VectorQuantizer2.forward`,
  /// `models/quant.py`).
  ///
  /// With f the features, f̂_k the sum of the first k scales and sg stopping a gradient, the loss is the
  /// mean over k of β · mean((sg f̂_k − f)²) + mean((f̂_k − sg f)²).
  ///
  /// - Parameters:
  ///   - features: `[B, C, H, W]` float32.
  ///   - beta: β
  ///   - kept: How many scales of each picture are decoded, `[B]`; nil for all.
  func learning(
    _ features: Tensor, schedule: ScaleSchedule, beta: Double, kept: [Int]? = nil
  ) -> Quantization {
    let (B, C, _, _) = features.shape4
    let target = features.detached()
    let zero = Tensor.zeros([1], device: features.device)
    var (fHat, decoded, rest) = (zero, zero, target)
    var loss = zero.reshape([])
    var (hits, inputs): ([Tensor], [Tensor]) = ([], [])
    for (k, size) in schedule.sizes.enumerated() {
      let map = k == schedule.count - 1 ? rest : rest.resizedArea(size.height, size.width)
      let rows = map.permute(0, 2, 3, 1).reshape(-1, C)
      let tokens = withoutGradient { nearest(rows) }
      let codes = codebook.embedding(tokens.reshape(B, size.count))
      let added = contribution(of: codes, scale: k, schedule)
      fHat = fHat + added
      rest = rest - added.detached()
      loss =
        loss + fHat.detached().meanSquare(from: features) * beta + fHat.meanSquare(from: target)
      let shown = kept.map { kept in
        Tensor.of(
          kept.map { k < $0 ? Float(1) : 0 }, shape: [B, 1, 1, 1], device: features.device)
      }
      decoded = decoded + (shown.map { added.detached() * $0 } ?? added.detached())
      hits.append(withoutGradient { tokens.counts(codebook.length(0)) })
      inputs.append(rows)
    }
    return Quantization(
      decoded: features + (decoded - target), loss: loss / Double(schedule.count),
      hits: .stack(hits, axis: 0), inputs: inputs)
  }
}

extension Tensor {
  /// The mean square of the differences of all elements; one element.
  func meanSquare(from other: Tensor) -> Tensor { (self - other).power(2).mean() }

  /// How often each of 0 ..< `bound` is among the elements of `self [n]` int64: `[bound]` float32.
  func counts(_ bound: Int) -> Tensor {
    let upTo = sorted(axis: 0).values.insertionIndex(of: .arange(bound, device: device))
      .to(.float32)
    return upTo - upTo.slice(0, 0..<bound - 1).padded(1, 0)
  }
}
