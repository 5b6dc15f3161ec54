import Foundation
import MVAR
import Torch

/// Tokens to learn from, and the class of each picture.
public struct TokenBatch: Sendable, Equatable {
  public let tokens: PictureTokens
  /// What the model reads where that is not ``tokens``: some of them wrong, as its own draws will be.
  public let read: PictureTokens?
  /// `[B]`
  public let labels: [Int]

  /// Traps unless there is a label for each picture.
  public init(tokens: PictureTokens, reading read: PictureTokens? = nil, labels: [Int]) {
    precondition(tokens.count == labels.count, "a label for each picture")
    precondition(read.map { $0.count == tokens.count } ?? true, "what is read of each picture")
    (self.tokens, self.read, self.labels) = (tokens, read, labels)
  }

  /// Some of the pictures.
  public subscript(pictures: Range<Int>) -> TokenBatch {
    TokenBatch(
      tokens: tokens[pictures], reading: read?[pictures], labels: Array(labels[pictures]))
  }
}

/// An endless row of batches that can be entered at any place.
///
/// What comes at a position is the same whenever and however often it is asked for.
public protocol TokenBatches: AnyObject {
  var schedule: ScaleSchedule { get }
  var classes: Int { get }
  /// Batches of one pass over the data.
  var batchesPerEpoch: Int { get }
  /// Where the next batch stands.
  var position: DataPosition { get }
  /// Goes on at a position.
  func seek(to position: DataPosition) throws
  func next() throws -> TokenBatch
}

/// Batches of tokens that are all in memory.
///
/// Each epoch has an order of its own, and takes of each picture one of its versions. The last batch
/// of an epoch is filled from the epoch's beginning, so that fewer pictures than a batch train too.
public final class TokensInMemory: TokenBatches {
  private let tokens: PictureTokens
  private let labels: [Int]
  private let versions: Int
  private let batch: Int
  private let seed: UInt64
  private var order: (epoch: Int, pictures: [Int])?

  public let classes: Int
  public private(set) var position = DataPosition.start

  /// - Parameters:
  ///   - tokens: All versions of a picture in a row: picture i has i · versions ..< (i + 1) · versions.
  ///   - labels: One a picture.
  ///   - classes: nil for the largest label and one more.
  ///   - batch: B
  /// - Throws: ``TrainingError`` where the numbers do not fit.
  public init(
    _ tokens: PictureTokens, labels: [Int], versions: Int = 1, classes: Int? = nil, batch: Int,
    seed: UInt64
  ) throws(TrainingError) {
    guard let largest = labels.max(), batch > 0 else {
      throw TrainingError(.data, "there are no pictures to learn from; name data that has some")
    }
    guard versions > 0, tokens.count == labels.count * versions else {
      throw TrainingError(
        .data,
        "\(tokens.count) token pyramids are not \(versions) of each of \(labels.count) pictures")
    }
    let classes = classes ?? largest + 1
    if let label = labels.first(where: { !(0..<classes).contains($0) }) {
      throw TrainingError(.data, "label \(label) is not one of 0...\(classes - 1)")
    }
    (self.tokens, self.labels, self.versions) = (tokens, labels, versions)
    (self.classes, self.batch, self.seed) = (classes, batch, seed)
  }

  public var schedule: ScaleSchedule { tokens.schedule }
  public var batchesPerEpoch: Int { (labels.count + batch - 1) / batch }

  public func seek(to position: DataPosition) { self.position = position }

  public func next() -> TokenBatch {
    let pictures = pictures(epoch: position.epoch)
    let chosen = (0..<batch).map { pictures[(position.step * batch + $0) % pictures.count] }
    let versions = version(of: chosen)
    position = position.advanced(by: 1, steps: batchesPerEpoch)
    return TokenBatch(
      tokens: tokens.picking(zip(chosen, versions).map { $0 * self.versions + $1 }),
      labels: chosen.map { labels[$0] })
  }

  private func version(of pictures: [Int]) -> [Int] {
    guard versions > 1 else { return pictures.map { _ in 0 } }
    let stream = PhiloxStream(seed: seed)
    return pictures.map { picture in
      let word = stream.block(UInt64(picture), domain: UInt64(position.epoch) << 1 | 1)[0]
      return Int(word % UInt32(versions))
    }
  }

  /// The pictures in this epoch's order: sorted by random numbers.
  private func pictures(epoch: Int) -> [Int] {
    if let order, order.epoch == epoch { return order.pictures }
    let keys = PhiloxStream(seed: seed).uniforms(labels.count, domain: UInt64(epoch) << 1)
    let pictures = labels.indices.sorted { (keys[$0], $0) < (keys[$1], $1) }
    order = (epoch, pictures)
    return pictures
  }
}
