import MVAR
import Torch

/// Keeps a codebook in use: begins it in the midst of the features, measures what is used, and gives
/// codes that nobody uses a new start.
final class CodebookCare {
  private let seed: UInt64
  private let schedule: ScaleSchedule
  private let vocabulary: Int
  private let device: Device
  /// The moving average of each code's hits in a step, `[K, V]` (`ema_vocab_hit_SV` of the reference).
  let hits: Tensor
  /// Hits of each code since the last revival, `[V]`.
  let recent: Tensor

  init(seed: UInt64, schedule: ScaleSchedule, vocabulary: Int, device: Device) {
    self.seed = seed
    self.schedule = schedule
    self.vocabulary = vocabulary
    self.device = device
    hits = .zeros([schedule.count, vocabulary], device: device)
    recent = .zeros([vocabulary], device: device)
  }

  /// - Parameter step: From 0.
  func note(_ hits: Tensor, step: Int) {
    withoutGradient {
      // As the reference averages: quickly at first.
      let kept = step == 0 ? 0 : step < 100 ? 0.9 : 0.99
      self.hits.multiplyInPlace(kept)
      self.hits.addInPlace(hits, scale: 1 - kept)
      recent.addInPlace(hits.sum(0))
    }
  }

  /// The percentage of codes in use at each scale, `[K]`: those hit at least 0.08 times as often as if
  /// all were alike (the reference's margin).
  func usage(batch: Int) -> Tensor {
    withoutGradient {
      let margins = schedule.sizes.map {
        Float(Double(batch * $0.count) / Double(vocabulary) * 0.08)
      }
      let margin = Tensor.of(margins, shape: [schedule.count, 1], device: device)
      return (margin .<= hits).to(.float32).mean(1) * 100
    }
  }

  /// Spreads the codes over the features of the first batch, as long as what any scale may leave over.
  func begin(_ codebook: Tensor, features: Tensor) {
    withoutGradient {
      let C = features.length(1)
      let inputs = schedule.sizes.enumerated().map { k, size in
        (k == schedule.count - 1 ? features : features.resizedArea(size.height, size.width))
          .permute(0, 2, 3, 1).reshape(-1, C)
      }
      var draws = Draws(seed: seed, .code, epoch: 0)
      let lengths = (0..<vocabulary).map { _ in Float(0.05 + 0.95 * draws.uniform()) }
      codebook.copyInPlace(
        from: chosen(inputs, step: 0, .choice)
          * .of(lengths, shape: [vocabulary, 1], device: device))
    }
  }

  /// Moves every code without a hit since the last time to something that was just quantised.
  ///
  /// - Parameter others: Tensors with a row for each code, such as an optimiser's moments, and whether
  ///   they follow the codes; what does not begins with zeros.
  func revive(
    _ codebook: Tensor, inputs: [Tensor], step: Int, following: [Tensor], clearing: [Tensor]
  ) {
    withoutGradient {
      let isDead = (recent .< 0.5).reshape(vocabulary, 1)
      let fresh = chosen(inputs, step: step, .code)
      for codes in [codebook] + following {
        codes.copyInPlace(from: isDead.choosing(fresh, else: codes))
      }
      for moments in clearing { moments.copyInPlace(from: moments.filled(where: isDead, with: 0)) }
      recent.fillInPlace(0)
    }
  }

  /// A row of the inputs for each code, `[V, C]`; every scale gives as many.
  private func chosen(_ inputs: [Tensor], step: Int, _ purpose: Draws.Purpose) -> Tensor {
    var draws = Draws(seed: seed, purpose, epoch: 0, place: step + 1)
    var start = 0
    let starts = inputs.map { rows in
      defer { start += rows.length(0) }
      return start
    }
    let rows = (0..<vocabulary).map { _ in
      let k = draws.below(inputs.count)
      return starts[k] + draws.below(inputs[k].length(0))
    }
    return Tensor.concatenate(inputs, axis: 0).indexed(0, .of(rows, device: device))
  }
}
