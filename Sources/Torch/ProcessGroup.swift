import CTorch

/// Processes that compute together, over libtorch's c10d: Gloo for what lies in the CPU's memory, and
/// NCCL for what lies on GPUs, once ``useNCCL(device:timeout:)`` was called.
///
/// Every process has to call the same methods in the same order. A process that dies makes the others'
/// next call fail; where NCCL waited for it on a GPU, ``check()`` tells.
public final class ProcessGroup {
  /// This process among ``ranks``, from 0.
  public let rank: Int
  public let ranks: Int
  let handle: ct_group

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

  /// Lets tensors on GPUs travel from GPU to GPU; without it they go through the CPU's memory.
  ///
  /// Sums on a GPU are then queued and not waited for by the caller.
  ///
  /// - Parameters:
  ///   - device: This process's GPU, which no other process of the group may have.
  ///   - timeout: How long the GPU waits for others before it gives up, in seconds.
  /// - Throws: `TorchError` where NCCL is missing or cannot connect.
  public func useNCCL(device: Int, timeout: Double) throws(TorchError) {
    let store = try attempt("meeting the other processes", UnsafeMutableRawPointer?.none) {
      $0.group_store(handle, &$1)
    }
    let backend = try CUDA.call("connecting by NCCL", UnsafeMutableRawPointer?.none) {
      $0.nccl_open(store, Int32(rank), Int32(ranks), Int32(device), timeout, &$1)
    }
    perform("group_use") { $0.group_use(handle, backend) }
  }

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

  /// Replaces each tensor by that of the process that owns it.
  ///
  /// - Parameters:
  ///   - tensors: Of one type, and of the same shapes everywhere.
  ///   - owners: The rank for each tensor.
  ///   - bucketBytes: How much of each process travels as one message.
  /// - Throws: `TorchError` where another process died.
  public func shareInPlace(
    _ tensors: [Tensor], owners: [Int], bucketBytes: Int = 64 << 20
  ) throws(TorchError) {
    precondition(tensors.count == owners.count, "an owner for each tensor")
    guard !tensors.isEmpty else { return }
    _ = try attempt("sharing among processes", ()) { table, _ in
      table.group_share(
        handle, tensors.map(\.handle), owners.map(Int32.init), tensors.count, bucketBytes)
    }
  }

  /// Waits until all processes are here; what their GPUs have queued may still be under way.
  public func barrier() throws(TorchError) {
    _ = try attempt("waiting for the other processes", ()) { table, _ in
      table.group_barrier(handle)
    }
  }

  /// Throws what NCCL met on the GPU, after which nothing that it computed can be trusted.
  public func check() throws(TorchError) {
    _ = try attempt("waiting for the other processes", ()) { table, _ in
      table.group_check(handle)
    }
  }

  /// Leaves a text for the other processes to ``ask(_:)`` for.
  public func tell(_ key: String, _ text: String) throws(TorchError) {
    _ = try attempt("telling the other processes", ()) { table, _ in
      table.group_tell(handle, key, text)
    }
  }

  /// What a process told; nil before it has.
  public func ask(_ key: String) throws(TorchError) -> String? {
    try attempt("asking the other processes", CMessage.none) {
      $0.group_ask(handle, key, &$1)
    }.map(takeString)
  }
}

/// Sums the gradients of leaves over processes while the backward pass still computes others.
///
/// The leaves are cut into buckets; a bucket travels when its gradients are complete and the one
/// before it has left, so that all processes send the same in the same order.
public final class GradientSum {
  private let handle: ct_gradient_sum
  private let group: ProcessGroup

  /// - Parameters:
  ///   - leaves: In about the order in which the backward pass completes them, the same everywhere.
  ///   - bucketBytes: How much travels as one message.
  public init(
    of leaves: [Tensor], over group: ProcessGroup, bucketBytes: Int = 25 << 20
  ) throws(TorchError) {
    self.group = group
    handle = try attempt("watching gradients", ct_gradient_sum?.none) {
      $0.gradient_sum_open(group.handle, leaves.map(\.handle), leaves.count, bucketBytes, &$1)
    }!
  }

  deinit { perform("gradient_sum_close") { $0.gradient_sum_close(handle) } }

  /// Says that the next backward pass completes the gradients: what was added up before in other
  /// passes is part of the sum.
  public func begin() throws(TorchError) {
    _ = try attempt("summing gradients", ()) { table, _ in table.gradient_sum_begin(handle) }
  }

  /// Waits for the sums, which take the place of the gradients. Every leaf has to have one by now.
  ///
  /// - Throws: `TorchError` where another process died.
  public func end() throws(TorchError) {
    _ = try attempt("summing gradients", ()) { table, _ in table.gradient_sum_end(handle) }
  }
}
