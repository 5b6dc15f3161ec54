import CTorch
import Foundation
import Synchronization

/// What only NVIDIA GPUs have: graphs, and kernels of our own, compiled at run time.
///
/// It lives in the library `TorchShimCUDA`, opened on first use. Where that library or a GPU is missing, ``isAvailable``
/// is false and everything runs on libtorch's own operations.
public enum CUDA {
  nonisolated(unsafe) private static var loaded: UnsafePointer<CTorchCUDAAPI>?
  nonisolated(unsafe) private static var failure: TorchError?
  private static let lock = Mutex<Void>(())

  /// Whether a GPU is here and `TorchShimCUDA` could be opened.
  public static var isAvailable: Bool { Device.cudaCount > 0 && (try? table()) != nil }

  static func table() throws(TorchError) -> UnsafePointer<CTorchCUDAAPI> {
    try lock.withLock { _ throws(TorchError) in
      if let loaded { return loaded }
      if let failure { throw failure }
      let message = LibTorch.withShimDirectories { ct_load_cuda($0, &loaded) }
      guard let message else { return loaded! }
      let error = TorchError(
        kind: .libraryNotFound, operation: "opening TorchShimCUDA", message: takeString(message))
      failure = error
      throw error
    }
  }

  static func call<R>(
    _ operation: StaticString, _ initial: R,
    _ body: (borrowing CTorchCUDAAPI, inout R) -> CMessage
  ) throws(TorchError) -> R {
    var result = initial
    if let message = body(try table().pointee, &result) {
      throw TorchError(operation: "\(operation)", message: takeString(message))
    }
    return result
  }

  private static let used = Mutex<Int?>(nil)

  /// Makes a GPU the one that this process uses, on all its threads; without it that is the first.
  ///
  /// Does nothing where ``isAvailable`` is false, as nothing then depends on it.
  ///
  /// - Throws: ``TorchError`` where the process uses another: compiled kernels belong to one GPU.
  public static func use(_ index: Int) throws(TorchError) {
    guard isAvailable else { return }
    try used.withLock { used throws(TorchError) in
      guard used == nil || used == index else {
        throw TorchError(
          kind: .operation, operation: "using cuda:\(index)",
          message: "this process uses cuda:\(used!) already; start another process for each GPU")
      }
      _ = try call("use_device", ()) { api, _ in api.use_device(Int32(index)) }
      used = index
    }
  }

  /// Has libtorch's products do without a workspace: in front of those that have one cuBLAS sets memory, which costs
  /// products of many rows more than the workspace gains.
  ///
  /// Counts for the whole process, and only before its first product. A `CUBLAS_WORKSPACE_CONFIG` of the user's stays.
  public static func omitProductWorkspace() {
    guard getenv("CUBLAS_WORKSPACE_CONFIG") == nil else { return }
    setenv("CUBLAS_WORKSPACE_CONFIG", ":0:0", 0)
    // Else libtorch warns that cuBLASLt's share of none is none.
    setenv("CUBLASLT_WORKSPACE_SIZE", "0", 0)
  }

  /// The current GPU.
  public struct Properties: Sendable {
    public let name: String
    /// 90 is Hopper, 80 Ampere.
    public let computeCapability: Int
    public let multiprocessors: Int
    /// What a block of a kernel may have, in bytes.
    public let sharedMemoryPerBlock: Int
    public let memoryBytes: Int
  }

  public static func properties() throws(TorchError) -> Properties {
    let gpu = try call("gpu", ct_gpu()) { $0.gpu(&$1) }
    let name = withUnsafeBytes(of: gpu.name) {
      String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
    }
    return Properties(
      name: name, computeCapability: Int(gpu.compute_capability),
      multiprocessors: Int(gpu.multiprocessors),
      sharedMemoryPerBlock: Int(gpu.shared_memory_per_block), memoryBytes: Int(gpu.memory_bytes))
  }

  /// Waits until everything that was queued on the current GPU is done.
  ///
  /// - Throws: what went wrong on the GPU since the last call.
  public static func synchronize() throws(TorchError) {
    _ = try call("synchronize", ()) { api, _ in api.synchronize() }
  }

  /// The most memory that libtorch's allocator has held on the current GPU, in bytes.
  ///
  /// - Parameter reset: gives back what is not in use, and counts anew from there.
  public static func peakMemory(reset: Bool = false) throws(TorchError) -> Int {
    Int(try call("memory_peak", Int64(0)) { $0.memory_peak(reset, &$1) })
  }
}

/// A moment in the GPU's queue.
public final class CUDAEvent {
  private let handle: ct_event

  /// Records the moment when all that is queued so far is done.
  public init() throws(TorchError) {
    handle = try CUDA.call("event_record", ct_event?.none) { $0.event_record(&$1) }!
  }

  deinit { _ = try? CUDA.call("event_free", ()) { api, _ in api.event_free(handle) } }

  /// Milliseconds from `start` to this moment, for which it waits.
  public func milliseconds(since start: CUDAEvent) throws(TorchError) -> Double {
    Double(
      try CUDA.call("event_elapsed", Float(0)) { $0.event_elapsed(start.handle, handle, &$1) })
  }
}
