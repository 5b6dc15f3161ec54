import Foundation
import Torch

/// Which of several processes this one is, as `torchrun` or SLURM says in the environment.
public struct ProcessPlace: Sendable, Hashable {
  public let rank: Int
  public let ranks: Int
  /// Among those of this machine.
  public let localRank: Int
  /// Where the process of rank 0 runs.
  public let host: String
  public let port: UInt16
  /// Whether whoever started the processes keeps what they need to find each other.
  public let storeIsElsewhere: Bool

  /// Nil where the environment tells of one process.
  ///
  /// - Throws: ``TrainingError`` naming a variable that is missing or makes no sense.
  public init?(environment: [String: String]) throws(TrainingError) {
    func number(_ name: String, in range: Range<Int>) throws(TrainingError) -> Int {
      guard let text = environment[name], let value = Int(text), range.contains(value) else {
        throw TrainingError(
          .setting,
          "\(name) is \(environment[name] ?? "not set"), and should be one of "
            + "\(range.lowerBound)...\(range.upperBound - 1); start the processes by torchrun or srun"
        )
      }
      return value
    }
    let isTorchrun = environment["WORLD_SIZE"] != nil
    guard isTorchrun || environment["SLURM_NTASKS"] != nil && environment["SLURM_PROCID"] != nil
    else { return nil }
    ranks = try number(isTorchrun ? "WORLD_SIZE" : "SLURM_NTASKS", in: 1..<1 << 20)
    guard ranks > 1 else { return nil }
    rank = try number(isTorchrun ? "RANK" : "SLURM_PROCID", in: 0..<ranks)
    let local = isTorchrun ? "LOCAL_RANK" : "SLURM_LOCALID"
    localRank = environment[local] == nil ? rank : try number(local, in: 0..<ranks)
    let isOneMachine = !isTorchrun && environment["SLURM_NNODES"] == "1"
    guard let host = environment["MASTER_ADDR"] ?? (isOneMachine ? "127.0.0.1" : nil) else {
      throw TrainingError(
        .setting, "MASTER_ADDR is not set; give it the name of the machine that rank 0 runs on")
    }
    self.host = host
    port =
      environment["MASTER_PORT"] == nil
      ? 29500 : UInt16(try number("MASTER_PORT", in: 1..<1 << 16))
    storeIsElsewhere = environment["TORCHELASTIC_USE_AGENT_STORE"] == "True"
  }
}

/// The processes that share a step.
final class DataParallel: GradientReducer {
  private let group: ProcessGroup
  private let usesNCCL: Bool
  private var gradients: GradientSum?
  /// How often the first process did something alone.
  private var turns = 0
  var rank: Int { group.rank }
  var ranks: Int { group.ranks }

  /// Seconds that a process waits for the others. One that dies is noticed at once, by its closed
  /// connections; this long only where a machine is lost without a word, or a GPU waits by itself.
  private static let timeout = (process: 50.0, gpu: 40.0)

  /// Waits until all processes are there.
  ///
  /// - Parameter device: Where this process computes; GPUs are connected by NCCL.
  init(_ place: ProcessPlace, device: Device) throws {
    do {
      group = try ProcessGroup(
        host: place.host, port: place.port,
        hostsStore: place.rank == 0 && !place.storeIsElsewhere, rank: place.rank,
        ranks: place.ranks, timeout: Self.timeout.process)
    } catch {
      throw TrainingError(
        .setting,
        "process \(place.rank) of \(place.ranks) did not meet the others at "
          + "\(place.host):\(place.port): \(error.message)")
    }
    guard case .cuda(let index) = device else {
      usesNCCL = false
      return
    }
    do { try group.useNCCL(device: index, timeout: Self.timeout.gpu) } catch {
      throw TrainingError(
        .setting,
        "process \(place.rank) of \(place.ranks), on cuda:\(index), could not join the others by "
          + "NCCL: \(error.message); start one process a GPU, or use --device cpu")
    }
    usesNCCL = true
  }

  // MARK: Sums

  func watch(_ leaves: [Tensor]) throws {
    try told { gradients = try GradientSum(of: leaves, over: group) }
  }

  func beginSum() throws { try told { try gradients?.begin() } }

  func endSum() throws { try told { try gradients?.end() } }

  func sum(_ x: Tensor) throws -> Tensor {
    let sum = x.clone()
    try told { try group.sumInPlace([sum]) }
    return sum
  }

  func share(_ tensors: [Tensor], owners: [Int]) throws {
    try told { try group.shareInPlace(tensors, owners: owners) }
  }

  // MARK: Between steps

  /// Whether any process says so.
  func any(_ flag: Bool) throws -> Bool {
    try check()
    return try sum(.full([1], flag ? 1 : 0)).item() > 0
  }

  /// Throws where a GPU waited in vain for another process. What was read from the GPU before then
  /// means nothing.
  func check() throws { try told { try group.check() } }

  /// Waits until all processes, and their GPUs, have come this far.
  func barrier() throws {
    try told {
      if usesNCCL { try CUDA.synchronize() }
      try group.check()
      try group.barrier()
    }
  }

  /// Lets the first process do something alone, however long it takes, while the others wait.
  ///
  /// - Throws: What `body` threw, in the first process; in the others that it did.
  func first(_ body: () throws -> Void) throws {
    turns += 1
    let key = "turn/\(turns)"
    guard rank == 0 else { return try wait(for: key) }
    do { try body() } catch {
      try? group.tell(key, "\(error)")
      // What it told is gone when it ends, so that all have to have heard it.
      try? group.barrier()
      throw error
    }
    try told {
      try group.tell(key, Self.done)
      try group.barrier()
    }
  }

  private static let done = "done"

  private func wait(for key: String) throws {
    var answer: String?
    while answer == nil {
      try told { answer = try group.ask(key) }
      if answer == nil { Thread.sleep(forTimeInterval: 0.02) }
    }
    guard answer != Self.done else { return try told { try group.barrier() } }
    try? group.barrier()
    throw TrainingError(.process, "the first process of this run has failed: \(answer!)")
  }

  private func told(_ body: () throws -> Void) throws {
    do { try body() } catch let error as TorchError {
      throw TrainingError(
        .process,
        "another process of this run has died or hangs (\(error.message)); its own message "
          + "says why; start all of them again with --resume")
    }
  }
}
