import ClassNames
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import ServiceLifecycle

/// The HTTP API and the web page over a model.
///
///     let generator = try await ImageGenerator(model: "d16.pth", tokenizer: "vae.pth")
///     let server = try PictureServer(
///       engine: GeneratorEngine(generator, name: "d16"), scheduler: .init(batch: 16),
///       configuration: .init(), logger: Logger(label: "server"))
///     try await server.run()
///
/// ``run()`` serves until ``stop()`` or the graceful shutdown of a service group, after which requests
/// that have begun are answered.
public final class PictureServer: Service {
  public let scheduler: PictureScheduler
  public let metrics: ServerMetrics
  private let configuration: ServerConfiguration
  private let labels: ClassLabels
  private let logger: Logger
  private let group = GroupHolder()
  let routes = RouteTable()

  /// - Throws: ``ServerConfigurationError``.
  public init(
    engine: any PictureEngine, scheduler: SchedulerConfiguration,
    configuration: ServerConfiguration, logger: Logger
  ) throws {
    try configuration.validate()
    self.configuration = configuration
    self.logger = logger
    labels = ClassLabels(classes: engine.facts.classes, names: engine.facts.classNames)
    metrics = ServerMetrics()
    self.scheduler = PictureScheduler(
      engine: engine, configuration: scheduler, metrics: metrics, logger: logger)
  }

  /// Serves.
  ///
  /// - Parameter onReady: Called with the server's address once it answers and the model is ready.
  /// - Throws: ``ServerConfigurationError`` if the address is taken or not this machine's.
  public func run(onReady: @escaping @Sendable (String) -> Void) async throws {
    let (ports, port) = AsyncStream<Int>.makeStream()
    let application = application { channel in
      port.yield(channel.localAddress?.port ?? self.configuration.port)
    }
    let scheduler = scheduler
    let readiness = ReadinessService(scheduler: scheduler, ports: ports) { [self] port in
      onReady(address(port: port))
    }
    // The last is told first to shut down: nothing new begins while the others finish.
    let services = ServiceGroup(
      configuration: .init(services: [scheduler, application, readiness], logger: logger))
    await group.hold(services)
    do { try await services.run() } catch let error as IOError {
      throw ServerConfigurationError(
        "\(configuration.host):\(configuration.port) cannot be listened at "
          + "(\(String(cString: strerror(error.errnoCode)))); choose another --port or --host")
    }
  }

  public func run() async throws { try await run { _ in } }

  /// Takes no more requests, and ends ``run()`` once those that have begun are answered.
  public func stop() async { await group.shutDown() }

  private func address(port: Int) -> String {
    let host = configuration.host.contains(":") ? "[\(configuration.host)]" : configuration.host
    return "http://\(host):\(port)"
  }

  /// The application, without the scheduler's service.
  func application(
    services: [any Service] = [], onListening: @escaping @Sendable (any Channel) -> Void = { _ in }
  ) -> Application<RouterResponder<ServerContext>> {
    let limits = configuration.connection
    return Application(
      router: router(),
      server: .http1(
        configuration: .init(
          additionalChannelHandlers: [ConnectionGuard(limits)],
          httpDecoderConfiguration: .init(
            maxHeaderFieldSize: 16 << 10, maxHeaderListSize: 32 << 10, maxHeaderFieldCount: 100))),
      configuration: ApplicationConfiguration(
        address: .hostname(configuration.host, port: configuration.port),
        availableConnectionsDelegate: MaximumAvailableConnections(configuration.maxConnections)),
      services: services,
      onServerRunning: { onListening($0) },
      logger: logger)
  }

  private func router() -> Router<ServerContext> {
    let router = Router(context: ServerContext.self, options: .autoGenerateHeadEndpoints)
    router.add(middleware: RequestRecord(metrics: metrics))
    router.add(middleware: SecurityHeaders())
    router.add(middleware: ErrorAnswers(routes: routes))
    router.add(middleware: HostGuard(allowed: configuration.answeredHosts))
    router.add(middleware: OriginGuard(allowed: configuration.allowedOrigins))
    router.add(middleware: TokenGuard(token: configuration.token))
    let tabled = TabledRouter(router: router, table: routes)
    addPage(tabled)
    addHealth(tabled)
    addAPI(tabled)
    return router
  }

  private func addPage(_ router: TabledRouter) {
    func add(_ path: String, _ bytes: [UInt8], _ type: String) {
      let buffer = ByteBuffer(bytes: bytes)
      router.get(path) { _, _ in
        Response(
          status: .ok, headers: [.contentType: type], body: .init(byteBuffer: buffer))
      }
    }
    add("/", PackageResources.page_html, "text/html; charset=utf-8")
    add("/page.css", PackageResources.page_css, "text/css; charset=utf-8")
    add("/page.js", PackageResources.page_js, "text/javascript; charset=utf-8")
    add("/openapi.json", PackageResources.openapi_json, "application/json")
  }

  private func addHealth(_ router: TabledRouter) {
    struct Health: Encodable { let status: String }
    router.get("/healthz") { _, _ in .json(Health(status: "ok")) }
    router.get("/readyz") { [scheduler] _, _ in
      let isReady = await scheduler.isReady
      return .json(
        Health(status: isReady ? "ready" : "not ready"),
        status: isReady ? .ok : .serviceUnavailable)
    }
    router.get("/metrics") { [metrics] _, _ in
      Response(
        status: .ok, headers: [.contentType: "text/plain; version=0.0.4; charset=utf-8"],
        body: .init(byteBuffer: ByteBuffer(string: metrics.exposition())))
    }
  }

  private func addAPI(_ router: TabledRouter) {
    let models = ModelRoutes(scheduler.engine.facts, labels, configuration)
    router.get("/v1/models", models.models)
    router.get("/v1/models/{model}", models.model)
    router.get("/v1/classes", models.classes)
    let images = ImagesRoutes(
      scheduler: scheduler, configuration: configuration, labels: labels,
      bodies: RequestBodies(budget: MemoryBudget(total: max(256 << 20, configuration.maxBody))),
      pictures: MemoryBudget(total: max(512 << 20, EditParameters.bytes(configuration.maxPixels))),
      results: ImageResults(
        byteLimit: configuration.resultBytes, lifetime: configuration.resultLifetime),
      threads: WorkThreads())
    router.post("/v1/images/generations", images.generate)
    router.post("/v1/images/edits", images.edit)
    router.get(ImageResults.route, images.result)
  }
}

/// Tells when everything is ready, and is the first to hear of a shutdown.
private struct ReadinessService: Service {
  let scheduler: PictureScheduler
  let ports: AsyncStream<Int>
  let onReady: @Sendable (Int) -> Void

  func run() async {
    await withGracefulShutdownHandler {
      var iterator = ports.makeAsyncIterator()
      if let port = await iterator.next() {
        await scheduler.waitUntilReady()
        if await scheduler.isReady { onReady(port) }
      }
      try? await gracefulShutdown()
      await scheduler.stop()
    } onGracefulShutdown: {
      Task { await scheduler.stop() }
    }
  }
}

private actor GroupHolder {
  private var group: ServiceGroup?
  private var isShutDown = false

  func hold(_ group: ServiceGroup) async {
    self.group = group
    if isShutDown { await group.triggerGracefulShutdown() }
  }

  func shutDown() async {
    isShutDown = true
    await group?.triggerGracefulShutdown()
  }
}
