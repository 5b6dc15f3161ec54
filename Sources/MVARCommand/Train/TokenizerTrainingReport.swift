import MVARTraining
import Synchronization

/// A tokenizer's run as a person follows it: a bar on a terminal, a line now and then in a log.
final class TokenizerTrainingReport: Sendable {
  private let console: Console
  private let state = Mutex<(progress: Progress, label: String, step: Int)?>(nil)

  init(_ console: Console) { self.console = console }

  func finish() { state.withLock { $0?.progress.finish() } }

  func show(_ event: TokenizerTrainingEvent) {
    switch event {
    case .started(let step, let steps, let parameters):
      console.note(
        "\(Quantity.millions(parameters)) parameters, "
          + (step == 0 ? "\(steps) steps" : "from step \(step) of \(steps)"))
      state.withLock { $0 = (console.progress(steps - step), "", step) }
    case .step(let step, let steps, let numbers):
      advance(step, of: steps, numbers)
    case .validated(let numbers, let step):
      guard let psnr = numbers["validation/psnr"] else { return }
      milestone("step \(step): held-out pictures come back at \(Quantity.rounded(psnr, 2)) dB")
    case .saved(let saved):
      milestone("step \(saved.step) saved")
    case .note(let text):
      finish()
      console.note(text)
    }
  }

  private func advance(_ step: Int, of steps: Int, _ numbers: [String: Double]?) {
    state.withLock { state in
      guard var current = state else { return }
      if let numbers { current.label = Self.label(numbers) }
      let label = "step \(step) of \(steps)\(current.label)"
      current.progress.advance(label, by: step - current.step)
      current.step = step
      state = current
    }
  }

  private func milestone(_ text: String) {
    state.withLock { state in
      let label = state?.label ?? ""
      state?.progress.milestone(text + label)
    }
  }

  private static func label(_ numbers: [String: Double]) -> String {
    let loss = numbers["train/loss"].map { " · loss \(Quantity.rounded($0, 4))" } ?? ""
    let psnr = numbers["train/psnr"].map { " · \(Quantity.rounded($0, 1)) dB" } ?? ""
    let speed =
      numbers["speed/images_per_second"].map { " · \(Quantity.rounded($0, 1)) images/s" } ?? ""
    return loss + psnr + speed
  }
}
