import Foundation

/// Where a run's numbers go: loss, accuracy, rates, speed.
///
/// One implementation writes JSON lines (``JSONLinesLog``); others write what viewers read. A log is
/// called from one thread at a time.
public protocol TrainingLog: AnyObject {
  /// Keeps the scalars of one step.
  ///
  /// - Parameters:
  ///   - scalars: By name, with slashes for groups: `train/loss`, `train/accuracy/scale3`,
  ///     `validation/loss`, `schedule/rate`, `speed/images_per_second`.
  ///   - step: Optimiser steps so far.
  func record(_ scalars: [String: Double], step: Int) throws

  /// Makes sure that all recorded so far survives the end of the program.
  func flush() throws

  /// Forgets what was recorded after a step: a run that resumes there records it again.
  func rewind(to step: Int) throws
}
