import MVAR
import Torch

/// Which process steps which weights (ZeRO, arXiv 1910.02054, section 5.1).
///
/// A process keeps the optimiser's state and the average of its own weights alone, steps those, and
/// gets the others from whoever owns them. Weights stay whole, so that a checkpoint knows them by name
/// and each is stepped by the same arithmetic wherever it lies.
struct WeightShare {
  let rank: Int
  /// Whether others own something; otherwise this process steps everything by itself.
  let isShared: Bool
  private let owners: [String: Int]

  /// Deals the weights out, the largest first, each to the process that has least.
  ///
  /// - Parameter counts: The elements of each weight.
  init(_ counts: [(name: String, count: Int)], rank: Int, ranks: Int) {
    (self.rank, isShared) = (rank, ranks > 1)
    var loads = Array(repeating: 0, count: ranks)
    var owners: [String: Int] = [:]
    let largestFirst = counts.enumerated().sorted {
      ($0.element.count, -$0.offset) > ($1.element.count, -$1.offset)
    }
    for (_, weight) in largestFirst {
      let owner = loads.indices.min { (loads[$0], $0) < (loads[$1], $1) }!
      loads[owner] += weight.count
      owners[weight.name] = owner
    }
    self.owners = owners
  }

  func owner(_ name: String) -> Int { owners[name]! }

  func isOwn(_ name: String) -> Bool { !isShared || owners[name] == rank }
}

extension ModelLearner {
  /// The weights in about the order in which a backward pass completes their gradients.
  ///
  /// A model takes its weights in the order of its forward pass. But the modulations of all blocks are
  /// computed first, from the classes, so that their gradients come last.
  static func backwardOrder(_ weights: [(name: String, tensor: Tensor)]) -> [Tensor] {
    let phases = Dictionary(grouping: weights.reversed()) { name, _ in
      guard name.contains("ada_") || name.hasPrefix("class_emb") else { return 0 }
      return name.hasPrefix("blocks.") ? 1 : 2
    }
    return (0...2).flatMap { phases[$0] ?? [] }.map(\.tensor)
  }

  /// Puts together what is spread over the processes; all of them have to call it.
  ///
  /// - Parameter own: What this process has, by the names of weights, whose shapes it has.
  /// - Returns: Those of `names` in the CPU's memory; in the first process only.
  private func gathered(_ own: [String: Tensor], _ names: [String]) throws -> [Tensor]? {
    let shapes = Dictionary(uniqueKeysWithValues: weights.named.map { ($0.name, $0.tensor.shape) })
    var whole: [Tensor] = []
    var rest = names[...]
    while !rest.isEmpty {
      // As much at a time as a GPU has room for beside its state.
      var (chunk, elements): ([String], Int) = ([], 0)
      while let name = rest.first, elements < 64 << 20 {
        chunk.append(name)
        elements += shapes[name]!.reduce(1, *)
        rest.removeFirst()
      }
      let tensors = chunk.map { own[$0] ?? .zeros(shapes[$0]!, device: device) }
      try reducer?.share(tensors, owners: chunk.map(share.owner))
      if share.rank == 0 { whole += tensors.map { $0.to(.float32, device: .cpu) } }
    }
    return share.rank == 0 ? whole : nil
  }

  /// The average of all weights, in their order; all processes have to call it.
  ///
  /// - Returns: Nil where there is no average, and where it is put together in another process.
  func gatheredAverage() throws -> [Tensor]? {
    guard let average, share.isShared else { return average }
    return try withTorchErrors {
      try withoutGradient {
        try gathered(Dictionary(uniqueKeysWithValues: zip(averaged, average)), weights.order)
      }
    }
  }

  /// The optimiser's state as a checkpoint has it; all processes have to call it.
  ///
  /// - Returns: Nothing where it is put together in another process.
  func gatheredOptimizer() throws -> [(name: String, tensor: Tensor)] {
    guard share.isShared else { return optimizerTensors }
    return try withTorchErrors {
      try withoutGradient {
        let own = optimized.filter(share.isOwn)
        func whole(_ state: [[Tensor]]) throws -> [Tensor]? {
          try gathered(Dictionary(uniqueKeysWithValues: zip(own, state.joined())), optimized)
        }
        // Both, whatever this process gets of them, as the others wait for its part.
        let (means, squares) = (try whole(optimizer.means), try whole(optimizer.squares))
        guard let means, let squares else { return [] }
        return Self.named(optimized, means, squares, optimizer.stepCount)
      }
    }
  }

  /// What of the optimiser's state this process has.
  var optimizerTensors: [(name: String, tensor: Tensor)] {
    Self.named(
      optimized.filter(share.isOwn), Array(optimizer.means.joined()),
      Array(optimizer.squares.joined()), optimizer.stepCount)
  }

  private static func named(
    _ names: [String], _ means: [Tensor], _ squares: [Tensor], _ stepCount: Tensor
  ) -> [(name: String, tensor: Tensor)] {
    zip(names, means).map { ("mean.\($0)", $1) } + zip(names, squares).map { ("square.\($0)", $1) }
      + [("step", stepCount)]
  }
}
