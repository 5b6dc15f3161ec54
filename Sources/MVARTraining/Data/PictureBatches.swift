import Foundation
import Pictures

/// Squares to learn from, and which they are.
public struct PictureBatch: Sendable {
  /// Where the batch stands in the run.
  public let position: DataPosition
  /// Pixels along a side, S.
  public let side: Int
  /// `[B, S, S, 3]`
  public let pixels: [UInt8]
  /// `[B]`
  public let labels: [Int]
  /// Which pictures of the data set, `[B]`.
  public let indices: [Int]
}

/// What reading has met so far.
public struct ReadingReport: Sendable {
  /// A picture that could not be read, and why.
  public struct Unreadable: Sendable, Hashable {
    public let name: String
    public let reason: String
  }

  /// Each once, in the order in which they were met.
  public internal(set) var unreadable: [Unreadable] = []
  /// Pictures made, those that were enlarged among them.
  public internal(set) var made = 0
  /// Pictures smaller than the wanted size.
  public internal(set) var enlarged = 0
  /// How long the consumer has waited for pictures, in seconds.
  public internal(set) var waited = 0.0
  /// How long ago it asked for the first, in seconds.
  public internal(set) var elapsed = 0.0

  /// The part of the time that the consumer spent waiting, from 0 to 1; the first batch aside.
  public var waitingShare: Double { elapsed > 0 ? waited / elapsed : 0 }
}

/// Batches of a data set, decoded and augmented by threads of their own ahead of the consumer.
///
/// Which pictures a batch has and how they were augmented depends on the seed and the batch's position
/// alone: not on the number of workers, nor on whether a run was stopped and resumed in between. The
/// last pictures of an epoch that fill no batch are left out; the next epoch has another order.
///
/// A picture that cannot be read is noted and another one, drawn by the same rule, stands in for it.
/// Above a share of the data set this ends the run.
public final class PictureBatches {
  public struct Settings: Sendable {
    public var recipe: PictureRecipe
    /// B, of this process.
    public var batch: Int
    public var seed: UInt64
    /// See ``SampleOrder``: 0 as the data are, 0.5 by the square root of a class's size, 1 all alike.
    public var balance = 0.0
    /// Threads; by default one for each core.
    public var workers = ProcessInfo.processInfo.activeProcessorCount
    /// Batches made ahead.
    public var ahead = 3
    /// The share of the data set that may be unreadable.
    public var toleratedShare = 0.01
    /// Pictures that were set apart from these, which the share is of as well: of a few held out, one
    /// would be too many.
    public var apart = 0
    /// This process among `ranks` that share each batch; rank r has the r-th part.
    public var rank = 0
    public var ranks = 1

    public init(recipe: PictureRecipe, batch: Int, seed: UInt64) {
      (self.recipe, self.batch, self.seed) = (recipe, batch, seed)
    }
  }

  public let dataSet: PictureDataSet
  public let settings: Settings
  /// Batches of an epoch.
  public let steps: Int
  private let line: ProductionLine
  private let first: DataPosition
  private var given = 0

  /// - Throws: ``TrainingError`` where the settings make no sense or the pictures fill no batch.
  public init(_ dataSet: PictureDataSet, _ settings: Settings, from position: DataPosition = .start)
    throws(TrainingError)
  {
    try settings.recipe.validate()
    guard settings.batch > 0, settings.workers > 0, settings.ahead > 0, settings.ranks > 0 else {
      throw TrainingError(
        .setting,
        "a batch of \(settings.batch) pictures by \(settings.workers) workers; use 1 or more of each"
      )
    }
    let whole = settings.batch * settings.ranks
    guard dataSet.count >= whole else {
      let pictures = dataSet.count == 1 ? "1 picture does" : "\(dataSet.count) pictures do"
      throw .data(
        dataSet.path, "\(pictures) not fill a batch of \(whole)",
        mend: "make the batch smaller or add pictures")
    }
    self.dataSet = dataSet
    self.settings = settings
    steps = dataSet.count / whole
    first = position.advanced(by: 0, steps: steps)
    line = try ProductionLine(dataSet, settings, from: first, steps: steps)
  }

  deinit { line.close() }

  /// The batch that comes next.
  public var position: DataPosition { first.advanced(by: given, steps: steps) }

  public var report: ReadingReport { line.report }

  /// The next batch; there is no last one.
  ///
  /// - Throws: ``TrainingError`` of kind `data` where too many pictures could not be read; it names some.
  ///   `CancellationError` where the task is cancelled while it waits; the batch still comes next.
  public func next() throws -> PictureBatch {
    let batch = try line.take(given)
    given += 1
    return batch
  }
}
