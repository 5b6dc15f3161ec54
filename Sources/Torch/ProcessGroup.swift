import CTorch

/// Processes that compute together, over libtorch's c10d with Gloo.
///
/// Every process has to call the same methods in the same order. A process that dies makes the others'
/// next call fail.
public final class ProcessGroup {
  /// This process among ``ranks``, from 0.
  public let rank: Int
  public let ranks: Int
  private let handle: ct_group

  /// Waits until all processes are there.
  ///
  /// - Parameters:
  ///   - host: Where the process of rank 0 runs.
  ///   - hostsStore: Whether this process keeps what the others need to find each other: that of rank
  ///     0, unless whoever started the processes does.
  ///   - timeout: How long to wait for others, here and later, in seconds.
  /// - Throws: `TorchError` where they do not come.
  public init(
    host: String, port: UInt16, hostsStore: Bool, rank: Int, ranks: Int, timeout: Double
  ) throws(TorchError) {
    (self.rank, self.ranks) = (rank, ranks)
    handle = try attempt("meeting the other processes", ct_group?.none) {
      $0.group_open(host, port, hostsStore, Int32(rank), Int32(ranks), timeout, &$1)
    }!
  }

  deinit { perform("group_close") { $0.group_close(handle) } }

  /// Replaces each tensor by its sum over the processes.
  ///
  /// - Parameter bucketBytes: How much travels as one message.
  /// - Throws: `TorchError` where another process died.
  public func sumInPlace(_ tensors: [Tensor], bucketBytes: Int = 25 << 20) throws(TorchError) {
    guard !tensors.isEmpty else { return }
    _ = try attempt("summing over processes", ()) { table, _ in
      table.group_sum(handle, tensors.map(\.handle), tensors.count, bucketBytes)
    }
  }

  /// Waits until all processes are here.
  public func barrier() throws(TorchError) {
    _ = try attempt("waiting for the other processes", ()) { table, _ in
      table.group_barrier(handle)
    }
  }
}
