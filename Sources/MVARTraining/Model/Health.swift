import MVAR
import Torch

/// Watches for a loss or gradient that is no number, without making a GPU wait.
///
/// The first bad step raises ``skip``, which the optimiser obeys from that step on, so that the
/// weights stay as they were before it. What it saw is kept on the device until somebody looks.
final class Health {
  private let schedule: ScaleSchedule
  private let names: [String]
  /// 1 once something went wrong; one element in float32.
  private(set) var skip: Tensor
  private var step: Tensor
  private var tokenLosses: Tensor
  private var norms: Tensor

  /// - Parameter names: Of the parameters, as their gradients come.
  init(schedule: ScaleSchedule, names: [String], device: Device) {
    (self.schedule, self.names) = (schedule, names)
    skip = .zeros([], device: device)
    step = .zeros([], dtype: .int64, device: device)
    tokenLosses = .zeros([schedule.tokenCount], device: device)
    norms = .zeros([names.count], device: device)
  }

  /// - Parameters:
  ///   - tokenLosses: The loss at each place, `[l]` for the first places.
  ///   - norms: The length of each parameter's gradient.
  func observe(step: Int, tokenLosses: Tensor, norms: Tensor) {
    let sum = tokenLosses.sum(0) + norms.sum(0)
    let bad = (1 - sum.isFinite().to(.float32))
    let raised = Tensor.stack([skip, bad], axis: 0).max(0)
    let isFirst = skip .< raised
    let all = tokenLosses.padded(0, schedule.tokenCount - tokenLosses.length(0))
    self.step = isFirst.choosing(
      .full([], Double(step), dtype: .int64, device: skip.device), else: self.step)
    self.tokenLosses = isFirst.choosing(all, else: self.tokenLosses)
    self.norms = isFirst.choosing(norms, else: self.norms)
    skip = raised
  }

  /// - Throws: ``TrainingError`` of kind `divergence`, naming the step and the scale or parameter.
  func check() throws {
    guard try skip.item() != 0 else { return }
    throw TrainingError(.divergence, "\(try place()) at step \(Int(try step.item()) + 1)")
  }

  private func place() throws -> String {
    let losses = try tokenLosses.elements(as: Float.self)
    let scales = schedule.ranges.enumerated().filter { !losses[$1].allSatisfy(\.isFinite) }
    if !scales.isEmpty {
      let sizes = scales.map { scale in
        let size = schedule.sizes[scale.offset]
        return "\(scale.offset + 1) (\(size.height) × \(size.width))"
      }
      return sizes.count == 1
        ? "the loss of scale \(sizes[0]) is no number"
        : "the losses of scales \(sizes.joined(separator: ", ")) are no numbers"
    }
    let bad = zip(names, try norms.elements(as: Float.self)).first { !$1.isFinite }
    return "the gradient of \(bad?.0 ?? "the weights together") is no number"
  }
}

private func - (a: Double, b: Tensor) -> Tensor { -b + a }
