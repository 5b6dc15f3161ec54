import Torch

/// Moments of a run, on the clock of whatever does the work: a GPU works behind the program's back.
struct Marks {
  private let device: Device
  private var instants: [ContinuousClock.Instant] = []
  private var events: [CUDAEvent] = []

  init(_ device: Device) { self.device = device }

  mutating func mark() throws {
    if device == .cpu || !CUDA.isAvailable {
      instants.append(ContinuousClock.now)
    } else {
      events.append(try CUDAEvent())
    }
  }

  /// Seconds between neighbours; waits for the last.
  func seconds() throws -> [Double] {
    events.isEmpty
      ? zip(instants, instants.dropFirst()).map { $0.duration(to: $1).seconds }
      : try zip(events, events.dropFirst()).map { try $1.milliseconds(since: $0) / 1000 }
  }
}

extension Duration {
  var seconds: Double {
    Double(components.seconds) + Double(components.attoseconds) * 1e-18
  }
}
