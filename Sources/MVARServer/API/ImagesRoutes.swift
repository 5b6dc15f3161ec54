import ClassNames
import Foundation
import HTTPTypes
import Hummingbird
import MVAR
import NIOCore
import Pictures

/// Draws pictures for clients: waits for an order and answers with its pictures, or streams them as
/// they appear.
struct ImagesRoutes: Sendable {
  let scheduler: PictureScheduler
  let configuration: ServerConfiguration
  let labels: ClassLabels
  let bodies: RequestBodies
  /// For pictures that wait to be edited.
  let pictures: MemoryBudget
  let results: ImageResults
  let threads: WorkThreads

  private var facts: EngineFacts { scheduler.engine.facts }

  /// `POST /v1/images/generations`
  @Sendable func generate(_ request: Request, _ context: ServerContext) async throws -> Response {
    guard request.mediaType == "application/json" else {
      throw APIError.unsupported(request, "application/json")
    }
    let parameters = try await bodies.with(request, context, limit: Self.jsonLimit) { body in
      var fields = try RequestFields(json: body)
      try fields.check(known: ImageParameters.names, ignored: ImageParameters.ignored)
      return try imageParameters(&fields)
    }
    let tasks = parameters.seeds.map { seed in
      PictureTask.draw(
        ImageRequest(label: parameters.label!, seed: seed, settings: parameters.settings))
    }
    let delivery = Delivery(
      parameters: parameters, facts: facts, kind: "image_generation", size: facts.size,
      software: configuration.software, results: results.answer(), threads: threads,
      base: Self.base(of: request))
    return try await answer(tasks, delivery, context)
  }

  static let jsonLimit = 64 << 10

  /// `POST /v1/images/edits`
  @Sendable func edit(_ request: Request, _ context: ServerContext) async throws -> Response {
    guard facts.edits else {
      throw APIError(
        status: .notFound, kind: .notFound, message: "this server was started without editing",
        code: "edits_not_available")
    }
    let limits = PictureLimits(pixels: configuration.maxPixels, bytes: configuration.maxBody)
    let (parameters, edit) = try await bodies.with(request, context, limit: configuration.maxBody) {
      body in
      try await threads.run {
        var fields = try Self.fields(request, body)
        try fields.check(
          known: ImageParameters.names.union(EditParameters.names), ignored: ImageParameters.ignored
        )
        let parameters = try imageParameters(&fields, needsClass: false)
        let edit = try EditParameters(&fields, facts, limits: limits, budget: pictures)
        try parameters.format.check(edit.finishedSize)
        return (parameters, edit)
      }
    }
    let tasks = parameters.seeds.map {
      edit.task(label: parameters.label, seed: $0, settings: parameters.settings)
    }
    let delivery = Delivery(
      parameters: parameters, facts: facts, kind: "image_edit", size: edit.size,
      software: configuration.software, results: results.answer(), threads: threads,
      base: Self.base(of: request), finish: edit.finished, finishingBytes: edit.finishingBytes,
      preview: edit.preview)
    return try await answer(tasks, delivery, context)
  }

  /// JSON, or a form.
  private static func fields(_ request: Request, _ body: Data) throws -> RequestFields {
    switch request.mediaType {
    case "application/json": try RequestFields(json: body)
    case "multipart/form-data":
      try MultipartForm.fields(body, contentType: request.headers[.contentType] ?? "")
    default: throw APIError.unsupported(request, "multipart/form-data or application/json")
    }
  }

  private func imageParameters(_ fields: inout RequestFields, needsClass: Bool = true) throws
    -> ImageParameters
  {
    try ImageParameters(
      &fields, facts, labels, maxCount: configuration.maxCount, needsClass: needsClass)
  }

  private func answer(_ tasks: [PictureTask], _ delivery: Delivery, _ context: ServerContext)
    async throws -> Response
  {
    let parameters = delivery.parameters
    let order = Order(
      client: .init(address: context.address, requester: parameters.user), tasks: tasks,
      previews: parameters.streams && parameters.previews > 0, timeout: parameters.timeout)
    let placed = try await place(order, await context.presence())
    guard parameters.streams else {
      let data = try await reading(placed) { events in
        try await delivery.images(events, for: placed.presence)
      }
      return try await threads.run { .json(delivery.answer(data)) }
    }
    return Response(
      status: .ok, headers: [.contentType: "text/event-stream"],
      body: ResponseBody { writer in
        do {
          try await self.reading(placed) { events in
            for try await event in events {
              if let text = try await delivery.text(of: event) { try await writer.write(text) }
            }
          }
        } catch is CancellationError {
          throw CancellationError()
        } catch {
          // The head is sent; what went wrong is the last event.
          let failed = StreamedImage.Failed(error: APIError(error).body.error)
          try await writer.write(ServerSentEvent(name: "error", value: failed).buffer)
        }
        try await writer.finish(nil)
      })
  }

  /// An order that is withdrawn when its client goes away, whether somebody reads its events by then or
  /// the answer has never begun.
  private struct WatchedOrder: Sendable {
    let placed: PictureScheduler.PlacedOrder
    let presence: ClientPresence?
    let watch: Int?
  }

  private func place(_ order: Order, _ presence: ClientPresence?) async throws -> WatchedOrder {
    if presence?.isGone == true { throw CancellationError() }
    let placed = try await scheduler.submit(order)
    let watch = presence?.whenGone { [scheduler] in Task { await scheduler.withdraw(placed) } }
    return WatchedOrder(placed: placed, presence: presence, watch: watch)
  }

  /// Reads an order's events, and withdraws it if the reading fails.
  private func reading<R>(_ order: WatchedOrder, _ read: (OrderEvents) async throws -> R)
    async throws -> R
  {
    defer { order.presence?.forget(order.watch) }
    do { return try await read(order.placed.events) } catch {
      await scheduler.withdraw(order.placed)
      throw error
    }
  }

  /// Where the client reached this server.
  private static func base(of request: Request) -> String {
    "http://\(request.head.authority ?? "localhost")"
  }

  /// `GET /v1/images/results/{name}`
  @Sendable func result(_ request: Request, _ context: ServerContext) async throws -> Response {
    let name = context.parameters.get("name") ?? ""
    guard let result = results[name] else {
      throw APIError(
        status: .notFound, kind: .notFound,
        message: "there is no such picture, or no longer; results are kept for "
          + "\(Int(configuration.resultLifetime.inSeconds)) s", code: "result_not_found")
    }
    return Response(
      status: .ok, headers: [.contentType: result.type],
      body: .init(byteBuffer: ByteBuffer(bytes: result.bytes)))
  }
}

/// Turns what happens to an order into what its client is sent.
struct Delivery: Sendable {
  let parameters: ImageParameters
  let facts: EngineFacts
  /// `image_generation` or `image_edit`.
  let kind: String
  /// The finished pictures'.
  let size: String
  let software: String
  let results: ImageResults.Answer
  let threads: WorkThreads
  let base: String
  /// What becomes of a finished picture, and of an unfinished one, before it is sent.
  var finish: @Sendable (Picture) -> Picture = { $0 }
  /// What finishing one takes for as long as it lasts, where that is much.
  var finishingBytes = 0
  var preview: @Sendable (Picture) -> Picture = { $0 }

  /// All pictures, once they are finished; their files are made side by side.
  ///
  /// - Throws: `CancellationError` once the client has left, though all of them may be drawn by then.
  func images(_ events: OrderEvents, for client: ClientPresence?) async throws -> [ImageData] {
    try await withThrowingTaskGroup(of: (Int, ImageData).self) { making in
      var (images, begun) = ([Int: ImageData](), 0)
      for try await event in events {
        guard case .finished(let index, let picture) = event else { continue }
        // No more wait for a thread than there are, so that other requests' pictures get one soon.
        if begun - images.count >= threads.count, let (index, image) = try await making.next() {
          images[index] = image
        }
        begun += 1
        making.addTask { (index, try await made(index, picture, events, client)) }
      }
      for try await (index, image) in making { images[index] = image }
      return images.sorted { $0.key < $1.key }.map(\.value)
    }
  }

  private func made(
    _ index: Int, _ picture: Picture, _ events: OrderEvents, _ client: ClientPresence?
  ) async throws -> ImageData {
    do {
      return try await threads.run(holding: finishingBytes) {
        if client?.isGone == true { throw CancellationError() }
        return try image(index, picture)
      }
    } catch {
      // Whoever reads them need not wait for pictures that will not be sent.
      events.finish(throwing: error)
      throw error
    }
  }

  func answer(_ images: [ImageData]) -> ImagesAnswer {
    ImagesAnswer(
      created: now, model: facts.name, size: size, outputFormat: parameters.format.rawValue,
      data: images)
  }

  /// What a client that watches is sent; nil for a preview that it does not want.
  func text(of event: OrderEvent) async throws -> ByteBuffer? {
    switch event {
    case .queued: return try self.event(event).buffer
    case .preview(_, let scale, let scales, _):
      guard parameters.shows(scale: scale, of: scales) else { return nil }
      do { return try await threads.run { try self.event(event).buffer } } catch let error
        as PictureError where error.kind == .tooLarge
      {
        // Longer than the format of previews allows; the finished picture's may be another.
        return nil
      }
    case .finished:
      return try await threads.run(holding: finishingBytes) { try self.event(event).buffer }
    }
  }

  private func event(_ event: OrderEvent) throws -> ServerSentEvent {
    switch event {
    case .queued(let ahead, let estimate):
      let name = "\(kind).queued"
      return ServerSentEvent(
        name: name,
        value: StreamedImage.Queued(
          type: name, ahead: ahead, estimatedSeconds: estimate?.inSeconds))
    case .preview(let index, let scale, let scales, let picture):
      return try partial(index, scale, scales, picture)
    case .finished(let index, let picture):
      let name = "\(kind).completed"
      return ServerSentEvent(
        name: name,
        value: StreamedImage.Completed(
          type: name, index: index, image: try image(index, picture), size: size,
          outputFormat: parameters.format.rawValue, createdAt: now))
    }
  }

  private func partial(_ index: Int, _ scale: Int, _ scales: Int, _ picture: Picture) throws
    -> ServerSentEvent
  {
    let name = "\(kind).partial_image"
    let bytes = try preview(picture).encoded(as: .jpeg(quality: 80))
    return ServerSentEvent(
      name: name,
      value: StreamedImage.Partial(
        type: name, b64JSON: Data(bytes).base64EncodedString(), partialImageIndex: scale,
        index: index, scale: scale, scales: scales, seed: parameters.seeds[index],
        size: size, createdAt: now))
  }

  private func image(_ index: Int, _ picture: Picture) throws -> ImageData {
    let texts = parameters.texts(index, facts, software: software)
    let bytes = try parameters.file(finish(picture), texts)
    var image = ImageData(
      seed: parameters.seeds[index], label: parameters.label, className: parameters.className)
    switch parameters.delivery {
    case .base64: image.b64JSON = Data(bytes).base64EncodedString()
    case .url:
      image.url = try base + ImageResults.folder + results.keep(bytes, format: parameters.format)
    }
    return image
  }

  private var now: Int { Int(Date.now.timeIntervalSince1970) }
}

extension APIError {
  static func unsupported(_ request: Request, _ wanted: String) -> APIError {
    APIError(
      status: .unsupportedMediaType, kind: .invalidRequest,
      message: "the content type is \(quoted(request.mediaType)); send \(wanted)",
      code: "unsupported_media_type")
  }
}
