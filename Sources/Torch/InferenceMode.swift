import CTorch

/// Runs `body` without recording anything for gradients; the mode belongs to the thread, so `body`
/// is synchronous.
public func withInferenceMode<R>(_ body: () throws -> R) throws -> R {
  let guardHandle = try attempt("begin_inference", ct_guard?.none) { $0.begin_inference(&$1) }
  defer { perform("end_inference") { $0.end_inference(guardHandle) } }
  return try body()
}
