import Foundation
import Torch

/// Where and in which precision a model computes.
public struct ComputeOptions: Sendable, Hashable {
  public enum Precision: String, Sendable, CaseIterable, Codable {
    /// bfloat16 on a GPU and on CPUs that multiply it fast, float32 elsewhere.
    case auto
    case float32
    case bfloat16
    case float16
  }

  public enum Place: Sendable, Hashable {
    /// The first GPU if there is one, else the CPU.
    case auto
    case cpu
    case cuda(Int)
  }

  public var precision: Precision
  public var place: Place
  /// Threads on the CPU; nil for one a core.
  public var threads: Int?
  /// Whether a GPU may use fused kernels and graphs; without them it runs libtorch's own operations one by one.
  public var fused = true
  /// Whether the fused kernels multiply in 8 bits where that is faster: on Hopper, many tokens at once. Pictures differ a
  /// little more from those of float32 than in bfloat16 alone.
  public var float8 = false

  public init(precision: Precision = .auto, place: Place = .auto, threads: Int? = nil) {
    self.precision = precision
    self.place = place
    self.threads = threads
  }

  /// Opens libtorch and checks that the device is there, before anything large is read.
  ///
  /// libtorch is opened once: called first, this also decides whether its CUDA half is opened, which
  /// takes time and which work on the CPU does without.
  ///
  /// - Throws: ``MVARError`` for a GPU that is not there or no threads, `TorchError` if libtorch is not.
  public func prepare() throws { _ = try resolve() }

  /// What the options mean on this machine.
  package struct Resolved: Sendable {
    package let dtype: DType
    package let device: Device
    package let threads: Int
    package let fused: Bool
    package let float8: Bool

    /// The precision that the options came to: never `auto`.
    package var precision: Precision {
      switch dtype {
      case .bfloat16: .bfloat16
      case .float16: .float16
      default: .float32
      }
    }
  }

  /// - Throws: As ``prepare()``.
  package func resolve() throws -> Resolved {
    try LibTorch.load(cuda: place != .cpu && LibTorch.hasNVIDIADriver)
    let device = try resolvedDevice()
    if case .cuda(let index) = device { try CUDA.use(index) }
    let threads = threads ?? ProcessInfo.processInfo.activeProcessorCount
    guard threads > 0 else {
      throw MVARError.invalidValue("threads", "\(threads)", mend: "use 1 or more")
    }
    let dtype: DType =
      switch precision {
      case .float32: .float32
      case .bfloat16: .bfloat16
      case .float16: .float16
      case .auto: device != .cpu || Device.cpuHasFastBFloat16 ? .bfloat16 : .float32
      }
    if float8 { try checkFloat8(dtype, device) }
    return Resolved(
      dtype: dtype, device: device, threads: threads, fused: fused, float8: float8)
  }

  private func checkFloat8(_ dtype: DType, _ device: Device) throws(MVARError) {
    let mend = "leave out --fp8"
    guard device != .cpu, CUDA.isAvailable, (try? CUDA.properties().computeCapability) ?? 0 >= 90
    else {
      throw MVARError(
        .device,
        "fp8 needs an NVIDIA GPU of compute capability 9.0 or more, and \(device) is none; \(mend)")
    }
    guard dtype == .bfloat16, fused else {
      throw MVARError.invalidValue(
        "fp8", "with \(dtype)\(fused ? "" : " and without fused kernels")",
        mend: "use --dtype bfloat16 and fused kernels, or \(mend)")
    }
  }

  private func resolvedDevice() throws(MVARError) -> Device {
    switch place {
    case .cpu: return .cpu
    case .auto: return Device.cudaCount > 0 ? .cuda(0) : .cpu
    case .cuda(let index):
      let count = Device.cudaCount
      guard index >= 0, index < count else {
        let found = count == 0 ? "no usable GPU" : "GPUs 0...\(count - 1) only"
        throw MVARError(
          .device,
          "device cuda:\(index) was asked for, but this machine has \(found); use --device cpu, or "
            + "`make setup DEVICE=cuda` on a machine with an NVIDIA driver")
      }
      return .cuda(index)
    }
  }
}
