import CTorch

/// Where a tensor's elements are.
public enum Device: Hashable, Sendable, CustomStringConvertible {
  case cpu
  case cuda(Int)

  var c: ct_device {
    switch self {
    case .cpu: ct_device(index: -1)
    case .cuda(let index): ct_device(index: Int32(index))
    }
  }

  init(_ c: ct_device) { self = c.index < 0 ? .cpu : .cuda(Int(c.index)) }

  public var description: String {
    switch self {
    case .cpu: "cpu"
    case .cuda(let index): "cuda:\(index)"
    }
  }

  /// How many CUDA devices libtorch can use; 0 without its CUDA half or without a driver.
  public static var cudaCount: Int {
    (try? attempt("cuda_device_count", Int32(0)) { $0.cuda_device_count(&$1) }).map(Int.init) ?? 0
  }

  /// Whether this CPU multiplies matrices in bfloat16 faster than in float32.
  public static var cpuHasFastBFloat16: Bool {
    (try? attempt("cpu_has_fast_bfloat16", false) { $0.cpu_has_fast_bfloat16(&$1) }) ?? false
  }

  /// Whether this CPU has what the kernels of `CPUKernels` are compiled for.
  package static let cpuRunsKernels: Bool = {
    #if arch(x86_64)
      (try? attempt("cpu_has_avx2", false) { $0.cpu_has_avx2(&$1) }) ?? false
    #else
      true
    #endif
  }()

  /// How many threads an operation on the CPU may use, of the calling thread's pool.
  public static func setThreadCount(_ count: Int) {
    perform("set_thread_count") { $0.set_thread_count(Int32(count)) }
  }
}
