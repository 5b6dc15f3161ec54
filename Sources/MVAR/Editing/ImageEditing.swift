import Pictures
import Torch

/// Editing with the model that generates; nothing was trained for it.
extension ImageGenerator {
  /// One batch of edits, scale by scale, as ``scales(_:settings:previews:traceFile:)`` generates.
  ///
  /// What lies outside the mask comes back as the tokenizer reconstructs it; ``EditCanvas`` can put the
  /// original's pixels back. Where nothing is masked, or all, the result is that reconstruction, or the
  /// picture that the same class and seed generate, to the bit.
  ///
  /// Masks with soft edges take the readable path on a GPU too, which is slower, and rounds otherwise.
  ///
  /// - Parameter previews: Whether every scale comes with pictures; decoding them takes time.
  /// - Returns: A stream that throws ``MVARError`` for requests that cannot be met, `TorchError` if
  ///   memory runs out, and ends after the current scale once the loop is left.
  public nonisolated func edits(
    _ requests: [EditRequest], settings: SamplingSettings = .init(), previews: Bool = false
  ) -> AsyncThrowingStream<GeneratedScale, any Error> {
    reported { try await self.edit(requests, settings: settings, previews: previews, report: $0) }
  }

  /// The finished pictures of one batch of edits.
  ///
  /// - Throws: As ``edits(_:settings:previews:)``, and `CancellationError` once the task is cancelled.
  public func edited(
    _ requests: [EditRequest], settings: SamplingSettings = .init()
  ) async throws -> [Picture] {
    try await finished(edits(requests, settings: settings))
  }

  /// Pictures between seeds, scale by scale; see ``DrawingNoise/between(_:_:position:)``.
  ///
  /// - Returns: A stream as of ``edits(_:settings:previews:)``.
  public nonisolated func interpolations(
    _ requests: [InterpolationRequest], settings: SamplingSettings = .init(),
    previews: Bool = false
  ) -> AsyncThrowingStream<GeneratedScale, any Error> {
    reported {
      try await self.interpolate(requests, settings: settings, previews: previews, report: $0)
    }
  }

  /// The finished pictures between seeds.
  ///
  /// - Throws: As ``edits(_:settings:previews:)``, and `CancellationError` once the task is cancelled.
  public func interpolated(
    _ requests: [InterpolationRequest], settings: SamplingSettings = .init()
  ) async throws -> [Picture] {
    try await finished(interpolations(requests, settings: settings))
  }

  /// Checks requests before anything is computed.
  ///
  /// - Throws: ``MVARError`` for a generator without an encoder, pictures and masks of other sizes than
  ///   the model's, a mask too small to reach a single token, and values out of range.
  public nonisolated func validate(_ requests: [EditRequest]) throws {
    try validate(classes: requests.compactMap(\.label))
    for request in requests { try request.validate(configuration.schedule, size: pictureSize) }
  }

  private func edit(
    _ requests: [EditRequest], settings: SamplingSettings, previews: Bool,
    report: @Sendable (GeneratedScale) -> Void
  ) async throws {
    for settings in [settings] + requests.compactMap(\.settings) { try settings.validate() }
    try validate(requests)
    guard !requests.isEmpty else { return }
    guard let encoder else {
      throw MVARError(
        .mismatch, "this generator was loaded without an encoder; load it with `edits: true`")
    }
    let drawing = try computing {
      try ScaleDrawing(
        transformer: transformer, tokenizer: tokenizer, fused: fused,
        labels: requests.map { $0.label ?? transformer.unconditionalLabel },
        seeds: requests.map(\.seed),
        given: try .init(requests, encoder, schedule: configuration.schedule, device: device),
        settings: requests.map { $0.settings ?? settings }, device: device)
    }
    try await draw(drawing, previews: previews, report: report)
  }

  private func interpolate(
    _ requests: [InterpolationRequest], settings: SamplingSettings, previews: Bool,
    report: @Sendable (GeneratedScale) -> Void
  ) async throws {
    for settings in [settings] + requests.compactMap(\.settings) { try settings.validate() }
    try validate(classes: requests.map(\.label))
    for request in requests where !(0...1).contains(request.position) {
      throw MVARError.invalidValue(
        "position", "\(request.position)", mend: "use 0 (the first seed) to 1 (the second)")
    }
    guard !requests.isEmpty else { return }
    let drawing = try computing {
      ScaleDrawing(
        transformer: transformer, tokenizer: tokenizer, labels: requests.map(\.label),
        noise: requests.map { .between($0.from, $0.to, position: $0.position) },
        settings: requests.map { $0.settings ?? settings }, device: device)
    }
    try await draw(drawing, previews: previews, report: report)
  }

  private nonisolated func finished(
    _ scales: AsyncThrowingStream<GeneratedScale, any Error>
  ) async throws -> [Picture] {
    var pictures: [Picture] = []
    for try await scale in scales { pictures = scale.pictures ?? pictures }
    try Task.checkCancellation()
    return pictures
  }
}

extension EditRequest {
  fileprivate func validate(_ schedule: ScaleSchedule, size: (width: Int, height: Int))
    throws(MVARError)
  {
    guard (picture.width, picture.height) == size else {
      throw MVARError(
        .mismatch,
        "a picture of \(picture.width) × \(picture.height) pixels does not fit a model that draws "
          + "\(size.width) × \(size.height); fit it first")
    }
    guard (mask.width, mask.height) == size else {
      throw MVARError(
        .mismatch,
        "a mask of \(mask.width) × \(mask.height) pixels does not fit a picture of "
          + "\(size.width) × \(size.height); draw it at the picture's size")
    }
    guard (0...schedule.count).contains(keptScales) else {
      throw MVARError.invalidValue(
        "kept scales", "\(keptScales)", mend: "this model has \(schedule.count) scales")
    }
    try edges.validate()
    if keptScales < schedule.count, !mask.isEmpty {
      try mask.checkReach(schedule, edges, size: size)
    }
  }
}

extension GivenTokens {
  /// Tokenises the pictures, one by one, so that their tokens do not depend on the batch.
  fileprivate init(
    _ requests: [EditRequest], _ encoder: Tokenizer, schedule: ScaleSchedule, device: Device
  ) throws {
    var known: [Picture: TokenPyramid] = [:]
    let pyramids = try requests.map { request in
      if let pyramid = known[request.picture] { return pyramid }
      try Task.checkCancellation()
      let pyramid = try encoder.encode(
        .pixels([request.picture], device: device), schedule: schedule)
      known[request.picture] = pyramid
      return pyramid
    }
    let shares = requests.map {
      $0.mask.drawnShares(schedule, edges: $0.edges, keptScales: $0.keptScales)
    }
    self.init(
      TokenPyramid(
        unchecked: schedule.sizes.indices.map { k in
          .concatenate(pyramids.map { $0.scales[k] }, axis: 0)
        }, schedule: schedule),
      drawn: schedule.sizes.enumerated().map { k, size in
        .of(shares.flatMap { $0[k] }, shape: [requests.count, size.count], device: device)
      }, mixes: requests.contains { $0.edges == .soft })
  }
}
