import MVAR
import Pictures

/// What draws the pictures of a server: a model, or in tests something that fails like one.
public protocol PictureEngine: Sendable {
  var facts: EngineFacts { get }

  /// Draws one batch. A picture never depends on the others of its batch.
  ///
  /// Returns, or throws, once nothing of the batch is being computed any more. Cancelling the task
  /// stops the work between two scales.
  ///
  /// - Parameters:
  ///   - tasks: One a picture, each with settings of its own.
  ///   - previews: Whether every scale comes with pictures, and not the last alone.
  ///   - report: Called after every scale; each task's scales come in order.
  /// - Throws: `TorchError` if memory runs out, `CancellationError` once cancelled.
  func draw(
    _ tasks: [PictureTask], previews: Bool, report: @Sendable (DrawnScale) async -> Void
  ) async throws

  /// Checks a task alone, so that a mistake in one never fails the batch that it would share.
  ///
  /// - Throws: `MVARError` for classes or settings out of range.
  func validate(_ task: PictureTask) throws
}

/// What clients may know about a model.
public struct EngineFacts: Sendable, Equatable {
  /// The model's name, never its path.
  public var name: String
  public var classes: Int
  /// What they are called, where the model's file tells.
  public var classNames: [String]?
  /// In pixels, as are the others.
  public var width: Int
  public var height: Int
  /// The token maps of a picture, coarse to fine.
  public var schedule: ScaleSchedule
  /// What the model computes in and where.
  public var dtype: String
  public var device: String
  /// Whether pictures can be edited.
  public var edits: Bool

  public init(
    name: String, classes: Int, classNames: [String]? = nil, width: Int, height: Int,
    schedule: ScaleSchedule, dtype: String, device: String, edits: Bool
  ) {
    self.name = name
    self.classes = classes
    self.classNames = classNames
    self.width = width
    self.height = height
    self.schedule = schedule
    self.dtype = dtype
    self.device = device
    self.edits = edits
  }

  /// The longer sides of the token maps.
  public var scales: [Int] { schedule.sizes.map { max($0.width, $0.height) } }

  /// The size as the API writes it.
  public var size: String { "\(width)x\(height)" }
}
