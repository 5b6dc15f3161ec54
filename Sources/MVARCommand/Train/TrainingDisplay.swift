import MVARTraining
import Synchronization

/// Shows what happens in a run.
final class TrainingDisplay: Sendable {
  private let console: Console
  private let state = Mutex(State())

  private struct State {
    var progress: Progress?
    var loss: Double?
    var speed: Double?
    var norm: Double?
    var step = 0
    var validation: ScaleMeasures?
    var training: ScaleMeasures?
  }

  init(_ console: Console) { self.console = console }

  /// The last step that was made.
  var lastStep: Int { state.withLock { $0.step } }

  func show(_ event: TrainingEvent) {
    state.withLock { state in
      switch event {
      case .started(let step, let total, let parameters):
        begin(&state, step, total, parameters)
      case .step(let report): show(report, &state)
      case .validated(let measures, let step):
        state.validation = measures
        say(
          "step \(step): validation loss \(short(measures.loss)), "
            + "\(short(measures.accuracy)) % right", &state)
      case .saved(let saved): say("step \(saved.step) is saved in \(saved.path)", &state)
      case .note(let text): say(text, &state)
      }
    }
  }

  /// Clears the bar.
  func finish() { state.withLock { $0.progress?.finish() } }

  private func begin(_ state: inout State, _ step: Int, _ total: Int, _ parameters: Int) {
    let millions = Double(parameters / 10_000) / 100
    console.note(
      step == 0
        ? "\(millions) million parameters, \(total) steps"
        : "\(millions) million parameters, from step \(step) of \(total)")
    state.step = step
    state.progress = console.progress(total - step)
  }

  private func show(_ report: TrainingReport, _ state: inout State) {
    state.step = report.step
    if let measures = report.measures {
      (state.loss, state.training) = (measures.loss, measures)
      (state.norm, state.speed) = (report.gradientNorm, report.picturesPerSecond)
    }
    let label = [
      "step \(report.step) of \(report.steps)", state.loss.map { "loss \(short($0))" },
      state.speed.map { "\(short($0)) pictures/s" },
    ].compactMap { $0 }.joined(separator: ", ")
    state.progress?.advance(label)
    if report.measures != nil { state.progress?.milestone(label) }
  }

  /// Says something above the bar.
  private func say(_ text: String, _ state: inout State) {
    state.progress?.finish()
    console.note(text)
  }

  private func short(_ number: Double) -> String {
    number < 10 ? "\((number * 1000).rounded() / 1000)" : "\((number * 10).rounded() / 10)"
  }
}

extension TrainingDisplay {
  /// What a script wants to know of a finished run.
  struct Summary: Encodable {
    let model: String
    let steps: Int
    let loss: Double?
    let losses: [Double]?
    let validationLoss: Double?
    let validationLosses: [Double]?
  }

  func summary(model: String) -> Summary {
    state.withLock {
      Summary(
        model: model, steps: $0.step, loss: $0.training?.loss, losses: $0.training?.losses,
        validationLoss: $0.validation?.loss, validationLosses: $0.validation?.losses)
    }
  }
}
