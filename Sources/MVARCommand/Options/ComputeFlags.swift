import ArgumentParser
import MVAR

/// Where and in which precision to compute.
struct ComputeFlags: ParsableArguments {
  @Option(
    help: """
      The precision: float32, bfloat16, float16 or auto. auto is bfloat16 on a GPU and on CPUs that \
      multiply it fast, float32 elsewhere.
      """)
  var dtype: ComputeOptions.Precision = .auto

  @OptionGroup var placement: PlacementFlags

  @Flag(
    inversion: .prefixedNo,
    help: "Use fused kernels and CUDA graphs where there are any: on a GPU, in 16 bits.")
  var fused = true

  @Flag(
    help: """
      Multiply in 8 bits where that is faster: on a Hopper GPU, in bfloat16, for many pictures at once. \
      Benchmarks/results says how far the pictures differ.
      """)
  var fp8 = false

  var options: ComputeOptions {
    var options = placement.options(dtype)
    options.fused = fused
    options.float8 = fp8
    return options
  }
}

/// Where to compute.
struct PlacementFlags: ParsableArguments {
  @Option(
    help: "cpu, cuda, cuda:N or auto: the first GPU if there is one. (default: auto)",
    transform: ComputeOptions.Place.init(parsing:))
  var device: ComputeOptions.Place = .auto

  @Option(parsing: .unconditional, help: "Threads on the CPU. (default: one a core)")
  var threads: Int?

  func validate() throws {
    try checkPositive(threads, "threads", atMost: 1024)
  }

  func options(_ precision: ComputeOptions.Precision) -> ComputeOptions {
    ComputeOptions(precision: precision, place: device, threads: threads)
  }
}

extension ComputeOptions.Precision: ExpressibleByArgument {}

extension ComputeOptions.Place: CustomStringConvertible {
  init(parsing text: String) throws {
    let index = text.hasPrefix("cuda:") ? Int(text.dropFirst(5)) : nil
    switch text {
    case "auto": self = .auto
    case "cpu": self = .cpu
    case "cuda": self = .cuda(0)
    default:
      guard let index, index >= 0 else {
        throw ValidationError("write cpu, cuda, cuda:N or auto")
      }
      self = .cuda(index)
    }
  }

  public var description: String {
    switch self {
    case .auto: "auto"
    case .cpu: "cpu"
    case .cuda(let index): "cuda:\(index)"
    }
  }
}

/// - Throws: What the parser reports as wrong usage.
func checkPositive(_ value: Int?, _ name: String, atMost limit: Int = .max) throws {
  guard let value, !(1...limit).contains(value) else { return }
  throw ValidationError(
    "\(name) is \(value); use 1 " + (limit == .max || value < 1 ? "or more" : "to \(limit)"))
}
