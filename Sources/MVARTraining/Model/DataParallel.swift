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

/// Adds up gradients over the processes that share a step.
final class DataParallel: GradientReducer {
  private let group: ProcessGroup
  var rank: Int { group.rank }
  var ranks: Int { group.ranks }

  /// Seconds that a process waits for the others. One that dies is noticed at once, by its closed
  /// connections; this long only where a machine is lost without a word.
  private static let timeout = 50.0

  /// Waits until all processes are there.
  init(_ place: ProcessPlace) throws {
    do {
      group = try ProcessGroup(
        host: place.host, port: place.port,
        hostsStore: place.rank == 0 && !place.storeIsElsewhere, rank: place.rank,
        ranks: place.ranks, timeout: Self.timeout)
    } catch {
      throw TrainingError(
        .setting,
        "process \(place.rank) of \(place.ranks) did not meet the others at "
          + "\(place.host):\(place.port): \(error.message)")
    }
  }

  func reduce(_ gradients: [Tensor]) throws { try told { try group.sumInPlace(gradients) } }

  func sum(_ x: Tensor) throws -> Tensor {
    let sum = x.clone()
    try told { try group.sumInPlace([sum]) }
    return sum
  }

  /// Whether any process says so.
  func any(_ flag: Bool) throws -> Bool {
    try sum(.full([1], flag ? 1 : 0)).item() > 0
  }

  func barrier() throws { try told { try group.barrier() } }

  private func told(_ body: () throws -> Void) throws {
    do { try body() } catch let error as TorchError {
      throw TrainingError(
        .process,
        "another process of this run has died or hangs (\(error.message)); its own message "
          + "says why; start all of them again with --resume")
    }
  }
}
