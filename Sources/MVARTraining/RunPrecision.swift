import MVAR

extension ComputeOptions {
  /// What a run computes in. One that goes on does as it began, unless it is told otherwise, which is then an error: `auto` may
  /// be another precision on another machine.
  ///
  /// - Parameter kept: The precision that the run in the folder has; nil where it kept none.
  func ofRun(
    goesOn: Bool, kept: () throws(TrainingError) -> Precision?
  ) throws(TrainingError) -> ComputeOptions {
    guard goesOn, precision == .auto else { return self }
    var options = self
    options.precision = try kept() ?? .auto
    return options
  }
}
