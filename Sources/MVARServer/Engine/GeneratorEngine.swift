import MVAR

/// A loaded model as the engine of a server.
public struct GeneratorEngine: PictureEngine {
  private let generator: ImageGenerator
  public let facts: EngineFacts

  /// - Parameters:
  ///   - name: What clients call the model; never a path.
  ///   - edits: Whether the generator was loaded to edit.
  public init(_ generator: ImageGenerator, name: String, edits: Bool) {
    self.generator = generator
    let size = generator.pictureSize
    let configuration = generator.configuration
    facts = EngineFacts(
      name: name, classes: configuration.classes, classNames: configuration.classNames,
      width: size.width, height: size.height,
      schedule: configuration.schedule, dtype: generator.dtype.description,
      device: generator.device.description, edits: edits)
  }

  /// New pictures first, then edits, which take another path through the model.
  public func draw(
    _ tasks: [PictureTask], previews: Bool, report: @Sendable (DrawnScale) async -> Void
  ) async throws {
    var draws: [(place: Int, request: ImageRequest)] = []
    var edits: [(place: Int, request: EditRequest)] = []
    for (place, task) in tasks.enumerated() {
      switch task {
      case .draw(let request): draws.append((place, request))
      case .edit(let request): edits.append((place, request))
      }
    }
    if !draws.isEmpty {
      let scales = generator.scales(draws.map(\.request), previews: previews)
      try await follow(scales, draws.map(\.place), report)
    }
    if !edits.isEmpty {
      let scales = generator.edits(edits.map(\.request), previews: previews)
      try await follow(scales, edits.map(\.place), report)
    }
  }

  private func follow(
    _ scales: AsyncThrowingStream<GeneratedScale, any Error>, _ places: [Int],
    _ report: @Sendable (DrawnScale) async -> Void
  ) async throws {
    do {
      for try await scale in scales {
        let pictures = Dictionary(uniqueKeysWithValues: zip(places, scale.pictures ?? []))
        await report(DrawnScale(index: scale.index, count: scale.count, pictures: pictures))
      }
    } catch {
      await generator.drain()
      throw error
    }
    // A loop that was cancelled ends early, while the scale is still being drawn.
    await generator.drain()
    try Task.checkCancellation()
  }

  public func validate(_ task: PictureTask) throws {
    try task.settings?.validate()
    switch task {
    case .draw(let request):
      let classes = facts.classes
      guard (0..<classes).contains(request.label) else {
        throw MVARError(
          .invalidValue, "class is \(request.label); this model has classes 0...\(classes - 1)")
      }
    case .edit(let request): try generator.validate([request])
    }
  }
}
