import MVAR

/// A loaded model as the engine of a server.
public struct GeneratorEngine: PictureEngine {
  private let generator: ImageGenerator
  public let facts: EngineFacts

  /// - Parameter name: What clients call the model; never a path.
  public init(_ generator: ImageGenerator, name: String) {
    self.generator = generator
    let size = generator.pictureSize
    let configuration = generator.configuration
    facts = EngineFacts(
      name: name, classes: configuration.classes, width: size.width, height: size.height,
      schedule: configuration.schedule,
      dtype: generator.dtype.description, device: generator.device.description, edits: false)
  }

  public func draw(
    _ tasks: [PictureTask], previews: Bool, report: @Sendable (DrawnScale) async -> Void
  ) async throws {
    do {
      for try await scale in generator.scales(tasks.map(\.request), previews: previews) {
        let pictures = (scale.pictures ?? []).enumerated().map { ($0, $1) }
        await report(
          DrawnScale(
            index: scale.index, count: scale.count,
            pictures: Dictionary(uniqueKeysWithValues: pictures)))
      }
    } catch {
      await generator.drain()
      throw error
    }
    await generator.drain()
    try Task.checkCancellation()
  }

  public func validate(_ task: PictureTask) throws(MVARError) {
    let classes = facts.classes
    guard (0..<classes).contains(task.request.label) else {
      throw MVARError(
        .invalidValue,
        "class is \(task.request.label); this model has classes 0...\(classes - 1)")
    }
    try task.request.settings?.validate()
  }
}
