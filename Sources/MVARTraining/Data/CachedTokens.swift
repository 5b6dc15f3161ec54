import MVAR

/// Shuffled batches of a ``TokenCache``.
///
/// Each epoch has an order of its own and takes of each picture one of its versions, all by the seed.
/// The last batch of an epoch is filled from the epoch's beginning.
public final class CachedTokens: TokenBatches {
  public let cache: TokenCache
  private let batch: Int
  private let seed: UInt64
  private let sampleOrder: SampleOrder
  private var order: (epoch: Int, pictures: [Int])?

  public private(set) var position = DataPosition.start

  /// - Parameters:
  ///   - batch: B
  ///   - balance: 0 takes every picture once an epoch; 1 draws all classes as often; 0.5 in proportion
  ///     to the square root of their pictures.
  /// - Throws: ``TrainingError`` for a batch below 1 or a balance outside 0 to 1.
  public init(_ cache: TokenCache, batch: Int, seed: UInt64, balance: Double = 0)
    throws(TrainingError)
  {
    guard batch > 0, (0...1).contains(balance) else {
      throw TrainingError(
        .setting, "a batch of \(batch) with a balance of \(balance); use 1 or more, and 0 to 1")
    }
    self.cache = cache
    self.batch = batch
    self.seed = seed
    sampleOrder = SampleOrder(seed: seed, labels: cache.labels, balance: balance)
  }

  public var schedule: ScaleSchedule { cache.schedule }
  public var classes: Int { max(cache.classNames.count, 1) }
  public var batchesPerEpoch: Int { (cache.count + batch - 1) / batch }

  public func seek(to position: DataPosition) {
    self.position = position.advanced(by: 0, steps: batchesPerEpoch)
  }

  public func next() throws -> TokenBatch {
    let epoch = position.epoch
    let pictures = pictures(epoch: epoch)
    let places = (0..<batch).map { position.step * batch + $0 }
    let chosen = places.map { pictures[$0 % pictures.count] }
    let versions = places.map { place in
      var draws = Draws(seed: seed, .choice, epoch: epoch, place: place)
      return draws.below(cache.description.versions)
    }
    let tokens = try cache.tokens(chosen, versions: versions)
    let read = try cache.isSpoilt ? cache.tokens(chosen, versions: versions, .standing) : nil
    position = position.advanced(by: 1, steps: batchesPerEpoch)
    return TokenBatch(tokens: tokens, reading: read, labels: chosen.map { cache.labels[$0] })
  }

  private func pictures(epoch: Int) -> [Int] {
    if let order, order.epoch == epoch { return order.pictures }
    let pictures = sampleOrder.samples(epoch: epoch)
    order = (epoch, pictures)
    return pictures
  }
}
