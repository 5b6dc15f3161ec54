import CTorch
import Foundation

/// An operation whose gradient its author computes: a fused kernel, or one that computes again what
/// it did not keep.
///
/// `forward` runs without recording. What `backward` captures lives until the backward pass is over;
/// it must not capture an output as it is, which would keep itself alive: capture
/// ``Tensor/detached()``.
///
/// - Parameters:
///   - inputs: What the operation depends on.
///   - forward: Computes new tensors, none of which is an input or a view of one.
///   - backward: Gets the gradient of each output, nil for one that nothing depends on, and returns
///     one for each input, nil for one that has none. It may run on another thread while the caller
///     of ``Tensor/backward(_:keepingGraph:)`` waits.
/// - Returns: What `forward` computed.
public func withCustomGradient(
  of inputs: [Tensor], forward: () -> [Tensor],
  backward: @escaping ([Tensor?]) throws -> [Tensor?]
) -> [Tensor] {
  let outputs = withoutGradient(forward)
  guard isRecording, inputs.contains(where: \.requiresGradient) else { return outputs }
  let context = Unmanaged.passRetained(BackwardClosure(backward)).toOpaque()
  perform("custom_gradient", inputs) {
    $0.custom_gradient(
      inputs.map(\.handle), inputs.count, outputs.map(\.handle), outputs.count,
      { BackwardClosure.call($0, $1, $2, $3, $4) },
      { Unmanaged<BackwardClosure>.fromOpaque($0!).release() }, context)
  }
  return outputs
}

/// Whether this thread records operations.
private var isRecording: Bool {
  var (previous, ignored) = (false, false)
  perform("set_gradient_mode") { $0.set_gradient_mode(true, &previous) }
  perform("set_gradient_mode") { $0.set_gradient_mode(previous, &ignored) }
  return previous
}

private final class BackwardClosure {
  private let body: ([Tensor?]) throws -> [Tensor?]

  init(_ body: @escaping ([Tensor?]) throws -> [Tensor?]) { self.body = body }

  /// As `ct_backward` describes.
  static func call(
    _ context: UnsafeMutableRawPointer?, _ lent: UnsafePointer<ct_tensor?>?, _ count: Int,
    _ returned: UnsafeMutablePointer<ct_tensor?>?, _ returnedCount: Int
  ) -> CMessage {
    let closure = Unmanaged<BackwardClosure>.fromOpaque(context!).takeUnretainedValue()
    do {
      let gradients = (0..<count).map { lent![$0].map(Tensor.init(borrowing:)) }
      let results = try withTorchErrors { try closure.body(gradients) }
      precondition(results.count == returnedCount, "one gradient for each input")
      for (index, result) in results.enumerated() { returned![index] = result?.retainedHandle() }
      return nil
    } catch {
      return strdup("\(error)")
    }
  }
}

extension Tensor {
  /// A second reference to a tensor that somebody else owns.
  fileprivate convenience init(borrowing handle: ct_tensor) {
    var out: ct_tensor?
    perform("alias") { $0.alias(handle, &out) }
    self.init(owning: out!)
  }

  /// A reference for somebody else to own.
  fileprivate func retainedHandle() -> ct_tensor? {
    var out: ct_tensor?
    perform("alias") { $0.alias(handle, &out) }
    return out
  }
}
