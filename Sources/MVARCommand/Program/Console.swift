/// What a command tells its user.
struct Console {
  /// Whether to keep everything but results and errors to itself.
  let isQuiet: Bool
  /// Whether standard output belongs to a machine-readable record.
  var outputIsRecord = false

  /// A result that a person reads.
  func result(_ text: String) throws {
    if !isQuiet, !outputIsRecord { try StandardStreams.writeOutput(text) }
  }

  /// What was asked for and nothing else, such as a record.
  func record(_ text: String) throws { try StandardStreams.writeOutput(text) }

  /// What a person may want to know.
  func note(_ text: String) {
    if !isQuiet { StandardStreams.writeError("mvar: \(text)") }
  }

  /// What makes a GPU slow, if anything does.
  func warn(kernelFailure: String?) {
    guard let kernelFailure else { return }
    note(
      "warning: the GPU's kernels cannot be compiled, so that this takes ten to twenty times as long; "
        + "`make setup DEVICE=cuda` brings what compiles them, and --no-fused does without them: "
        + kernelFailure.prefix { $0 != "\n" })
  }

  /// Progress of `total` steps.
  func progress(_ total: Int) -> Progress { Progress(total: total, isQuiet: isQuiet) }
}
