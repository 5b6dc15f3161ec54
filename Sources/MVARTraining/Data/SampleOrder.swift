import Foundation

/// In which order an epoch goes through a data set: a function of the seed and the epoch alone.
struct SampleOrder: Sendable {
  let seed: UInt64
  /// The label of every sample.
  let labels: [Int]
  /// 0 shuffles all samples; 1 draws all classes as often, with replacement; between them class c is
  /// drawn in proportion to n_c^(1 − balance), so that 0.5 is the square root.
  let balance: Double

  private let members: [[Int]]
  /// Up to and with class c, the share of draws.
  private let cumulative: [Double]

  init(seed: UInt64, labels: [Int], balance: Double = 0) {
    self.seed = seed
    self.labels = labels
    self.balance = balance
    var members: [[Int]] = []
    if balance > 0 {
      members = Array(repeating: [], count: (labels.max() ?? -1) + 1)
      for (index, label) in labels.enumerated() { members[label].append(index) }
      members.removeAll { $0.isEmpty }
    }
    let weights = members.map { pow(Double($0.count), 1 - balance) }
    var sum = 0.0
    cumulative = weights.map { weight in
      sum += weight
      return sum
    }.map { $0 / sum }
    self.members = members
  }

  /// The samples of an epoch, as many as there are.
  func samples(epoch: Int) -> [Int] {
    balance > 0 ? drawn(epoch: epoch) : shuffled(epoch: epoch)
  }

  /// Fisher and Yates's shuffle.
  private func shuffled(epoch: Int) -> [Int] {
    var samples = Array(labels.indices)
    var draws = Draws(seed: seed, .order, epoch: epoch)
    for last in stride(from: samples.count - 1, to: 0, by: -1) {
      samples.swapAt(last, draws.below(last + 1))
    }
    return samples
  }

  private func drawn(epoch: Int) -> [Int] {
    var draws = Draws(seed: seed, .order, epoch: epoch)
    return labels.indices.map { _ in
      let share = draws.uniform()
      let group = members[cumulative.firstIndex { share < $0 } ?? cumulative.count - 1]
      return group[draws.below(group.count)]
    }
  }
}
