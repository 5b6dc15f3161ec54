import Metrics

/// What a server counts and measures.
public struct ServerMetrics: Sendable {
  public let registry: PrometheusRegistry
  private let queued: Meter
  private let running: Meter
  private let batchLimit: Meter
  private let pictures: Counter
  private let batchSize: Recorder
  private let batchTime: Metrics.Timer
  private let wait: Metrics.Timer
  private let residentMemory: Meter

  public init() {
    let registry = PrometheusRegistry(Self.families)
    self.registry = registry
    func meter(_ label: String) -> Meter { Meter(label: label, factory: registry) }
    queued = meter("mvar_queued_pictures")
    running = meter("mvar_running_pictures")
    batchLimit = meter("mvar_batch_limit_pictures")
    residentMemory = meter("process_resident_memory_bytes")
    pictures = Counter(label: "mvar_pictures_total", factory: registry)
    batchSize = Recorder(label: "mvar_batch_pictures", factory: registry)
    batchTime = Metrics.Timer(label: "mvar_batch_seconds", factory: registry)
    wait = Metrics.Timer(label: "mvar_queue_wait_seconds", factory: registry)
  }

  private static let families: [String: PrometheusRegistry.Family] = [
    "mvar_queued_pictures": .init(help: "Pictures that wait."),
    "mvar_running_pictures": .init(help: "Pictures that are being drawn."),
    "mvar_batch_limit_pictures": .init(
      help: "Pictures drawn at once at most; less than configured after memory ran out."),
    "mvar_pictures_total": .init(help: "Pictures finished."),
    "mvar_batches_total": .init(help: "Batches by how they ended."),
    "mvar_batch_pictures": .init(
      help: "Pictures in a batch.", buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256]),
    "mvar_batch_seconds": .init(help: "Time of a finished batch."),
    "mvar_queue_wait_seconds": .init(help: "Time from an order to the start of its first batch."),
    "mvar_orders_total": .init(help: "Orders by how they ended."),
    "mvar_http_requests_total": .init(help: "Answered requests by route, method and status."),
    "mvar_http_request_seconds": .init(help: "Time from a request's head to its answer's end."),
    "process_resident_memory_bytes": .init(help: "Resident memory of the process."),
  ]

  enum BatchEnd: String { case finished, cancelled, outOfMemory = "out_of_memory", failed }

  enum OrderEnd: String {
    case finished, cancelled, failed, refused
    case timedOut = "timed_out"
  }

  func show(queued waiting: Int, running count: Int, limit: Int) {
    queued.set(waiting)
    running.set(count)
    batchLimit.set(limit)
  }

  func batchEnded(_ end: BatchEnd, size: Int, seconds: Double) {
    Counter(
      label: "mvar_batches_total", dimensions: [("outcome", end.rawValue)], factory: registry
    ).increment()
    guard end == .finished else { return }
    pictures.increment(by: size)
    batchSize.record(size)
    batchTime.recordNanoseconds(Int64(seconds * 1e9))
  }

  func orderEnded(_ end: OrderEnd) {
    Counter(
      label: "mvar_orders_total", dimensions: [("outcome", end.rawValue)], factory: registry
    ).increment()
  }

  func waited(_ seconds: Double) { wait.recordNanoseconds(Int64(seconds * 1e9)) }

  func answered(route: String, method: String, status: Int, seconds: Double) {
    Counter(
      label: "mvar_http_requests_total",
      dimensions: [("route", route), ("method", method), ("status", "\(status)")],
      factory: registry
    ).increment()
    Metrics.Timer(
      label: "mvar_http_request_seconds", dimensions: [("route", route)], factory: registry
    ).recordNanoseconds(Int64(seconds * 1e9))
  }

  /// All metrics as text.
  public func exposition() -> String {
    if let bytes = residentMemoryBytes() { residentMemory.set(bytes) }
    return registry.exposition()
  }
}
