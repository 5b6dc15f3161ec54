import CTorch

/// Runs a model's operations and throws the first error that any of them met.
///
/// Operations on tensors do not throw: a forward pass with `try` on every line would hide what it
/// computes. Inside this scope the first failure (device memory, shapes that do not fit) is kept,
/// the operations after it return placeholders, and the scope throws it when `body` has returned.
/// Outside any scope a failing operation is a programmer's error and stops the program, with the
/// operation's name and the shapes of its operands. Scopes nest; where the outer one has met an error
/// it is thrown before `body` begins, as that would work on placeholders. Each belongs to one thread,
/// so `body` is synchronous.
public func withTorchErrors<R>(_ body: () throws -> R) throws -> R {
  try ErrorScope.rethrow()
  let scope = ErrorScope()
  let slot = ct_thread_slot()!
  let outer = slot.pointee
  slot.pointee = Unmanaged.passUnretained(scope).toOpaque()
  let result: Result<R, any Error>
  do { result = .success(try body()) } catch { result = .failure(error) }
  slot.pointee = outer
  if let first = scope.first { throw first }
  return try withExtendedLifetime(scope) { try result.get() }
}

final class ErrorScope {
  var first: TorchError?

  /// Throws what this thread's scope has met already: the elements of a placeholder mean nothing, and
  /// there may be fewer of them than the caller counts on.
  static func rethrow() throws(TorchError) {
    if let first = current?.first { throw first }
  }

  /// The innermost scope of this thread.
  static var current: ErrorScope? {
    ct_thread_slot().pointee.map { Unmanaged<ErrorScope>.fromOpaque($0).takeUnretainedValue() }
  }
}

typealias CMessage = UnsafeMutablePointer<CChar>?

/// Calls one entry of the table; its error goes to the scope, or stops the program.
@inline(__always)
func perform(
  _ operation: StaticString, _ operands: @autoclosure () -> [Tensor] = [],
  _ body: (borrowing CTorchAPI) -> CMessage
) {
  if let message = body(LibTorch.table.pointee) {
    report(operation, operands(), takeString(message))
  }
}

/// Calls an entry of the table that makes a tensor.
@inline(__always)
func make(
  _ operation: StaticString, _ operands: @autoclosure () -> [Tensor] = [],
  _ body: (borrowing CTorchAPI, inout ct_tensor?) -> CMessage
) -> Tensor {
  var out: ct_tensor?
  if let message = body(LibTorch.table.pointee, &out) {
    report(operation, operands(), takeString(message))
    return .placeholder()
  }
  return Tensor(owning: out!)
}

/// Calls an entry of the table whose failure its caller handles.
func attempt<R>(
  _ operation: StaticString, _ initial: R,
  _ body: (borrowing CTorchAPI, inout R) -> CMessage
) throws(TorchError) -> R {
  var result = initial
  if let message = body(LibTorch.table.pointee, &result) {
    throw TorchError(operation: "\(operation)", message: takeString(message))
  }
  return result
}

private func report(_ operation: StaticString, _ operands: [Tensor], _ message: String) {
  let shapes = operands.map { "\($0.dtype)\($0.shape)" }.joined(separator: ", ")
  let error = TorchError(operation: "\(operation)(\(shapes))", message: message)
  guard let scope = ErrorScope.current else { fatalError("\(error)") }
  if scope.first == nil { scope.first = error }
}
