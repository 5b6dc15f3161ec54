import CTorch

/// Work on a GPU that was recorded once and is started again with one call.
///
/// A graph keeps the addresses that it was recorded with: what it reads must stay alive and in place, and what it
/// computed is overwritten by the next ``replay()``.
public final class CUDAGraph {
  private let handle: ct_graph
  /// Whatever the recorded work reads and writes.
  private var kept: Any?

  private init(_ handle: ct_graph) { self.handle = handle }

  deinit { _ = try? CUDA.call("graph_free", ()) { api, _ in api.graph_free(handle) } }

  /// Records what `body` does, without doing it.
  ///
  /// The same work must have run once before, so that libraries have set themselves up; copies from and to the CPU and
  /// anything else that waits for the GPU cannot be recorded.
  ///
  /// - Parameter other: a graph to share memory with; allowed if the two never run at the same time and nothing that one
  ///   of them computed, except tensors still held, is read after the other ran.
  /// - Throws: ``TorchError`` if something cannot be recorded, or what `body` throws.
  public static func recording<R>(
    sharingMemoryWith other: CUDAGraph? = nil, _ body: () throws -> R
  ) throws -> (graph: CUDAGraph, result: R) {
    let handle = try CUDA.call("graph_begin", ct_graph?.none) {
      $0.graph_begin(other?.handle, &$1)
    }!
    let graph = CUDAGraph(handle)
    let result = Result { try withTorchErrors(body) }
    do {
      _ = try CUDA.call("graph_end", ()) { api, _ in api.graph_end(handle) }
    } catch {
      // What broke inside says more than that the recording did not end well.
      _ = try result.get()
      throw error
    }
    let value = try result.get()
    graph.kept = value
    return (graph, value)
  }

  public func replay() throws(TorchError) {
    _ = try CUDA.call("graph_replay", ()) { api, _ in api.graph_replay(handle) }
  }
}
