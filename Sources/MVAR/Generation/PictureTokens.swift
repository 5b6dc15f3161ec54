import CheckpointFormats
import Torch

/// The tokens of some pictures, as a file keeps them.
public struct PictureTokens: Sendable, Equatable {
  public let schedule: ScaleSchedule
  /// B
  public let count: Int
  /// For each scale, `[B, n_k]` row by row.
  public let scales: [[Int64]]

  /// Traps unless `scales` has `count` maps of each size of the schedule.
  public init(schedule: ScaleSchedule, count: Int, scales: [[Int64]]) {
    precondition(
      scales.map(\.count) == schedule.sizes.map { $0.count * count },
      "\(scales.map(\.count)) tokens of \(count) pictures at the scales \(schedule)")
    self.schedule = schedule
    self.count = count
    self.scales = scales
  }

  /// Reads `tokens.0` … `tokens.K−1`, `[B, n_k]`, of a safetensors file.
  ///
  /// - Parameter schedule: Nil to read it off the file's note, or off the counts where all maps are
  ///   square.
  /// - Throws: `CheckpointFormatError` or ``MVARError`` naming what does not fit.
  public init(contentsOf path: String, schedule: ScaleSchedule? = nil) throws {
    let file = try SafetensorsFile(path)
    let byName = Dictionary(file.tensors.map { ($0.name, $0) }) { first, _ in first }
    let stored = (0...).lazy.map { byName["tokens.\($0)"] }.prefix { $0 != nil }.map { $0! }
    let maps = Array(stored)
    guard let count = maps.first?.shape.first, count > 0 else {
      throw MVARError(
        .checkpoint, "\(path): it has no tensor tokens.0; make one with `mvar tokenize`")
    }
    guard
      maps.allSatisfy({ $0.shape.count == 2 && $0.shape[0] == count && $0.elementType == .int64 })
    else {
      throw MVARError(
        .checkpoint,
        "\(path): its tokens are of shapes \(maps.map(\.shape)) and should be [B, n] int64 each")
    }
    let counts = maps.map { $0.shape[1] }
    let note = try file.metadata["scales"].map(ScaleSchedule.init(parsing:))
    let found = try schedule ?? note ?? Self.squares(counts, path)
    guard found.sizes.map(\.count) == counts else {
      throw MVARError(
        .mismatch,
        "\(path): its maps have \(counts) tokens, which are not the scales \(found); name them with --scales"
      )
    }
    let mapping = try MappedFile(path)
    self.schedule = found
    self.count = count
    scales = try maps.map { map in
      let range = map.contiguousBytes!
      let bytes = try mapping.bytes(at: range.offset, count: range.count)
      return (0..<map.elementCount).map {
        bytes.loadUnaligned(fromByteOffset: $0 * 8, as: Int64.self)
      }
    }
  }

  private static func squares(_ counts: [Int], _ path: String) throws(MVARError) -> ScaleSchedule {
    let sides = counts.map { Int(Double($0).squareRoot().rounded()) }
    guard zip(sides, counts).allSatisfy({ $0 * $0 == $1 }) else {
      throw MVARError(
        .mismatch,
        "\(path): maps of \(counts) tokens are not all square; name their sizes with --scales")
    }
    return try ScaleSchedule(squares: sides)
  }

  /// Writes `tokens.0` … `tokens.K−1`, `[B, n_k]` int64, with the sizes of the scales as a note.
  public func write(to path: String) throws {
    let names = scales.indices.map { "tokens.\($0)" }
    let tensors = zip(names, schedule.sizes).map {
      TensorDeclaration(name: $0, elementType: .int64, shape: [count, $1.count])
    }
    let writer = try SafetensorsWriter(
      path, tensors: tensors, metadata: ["scales": schedule.description])
    for (name, tokens) in zip(names, scales) {
      try tokens.withUnsafeBytes { try writer.write(tensorNamed: name, bytes: $0) }
    }
    try writer.finish()
  }
}

extension PictureTokens {
  /// All pictures of several in a row.
  ///
  /// - Throws: ``MVARError`` if there are none, or their schedules differ.
  public init(joining parts: [PictureTokens]) throws(MVARError) {
    guard let first = parts.first, parts.allSatisfy({ $0.schedule == first.schedule }) else {
      throw MVARError(.mismatch, "tokens of different scales, or of no pictures, make no batch")
    }
    self.init(
      schedule: first.schedule, count: parts.reduce(0) { $0 + $1.count },
      scales: first.scales.indices.map { k in parts.flatMap { $0.scales[k] } })
  }

  /// Some of the pictures.
  ///
  /// Traps unless they are among the ``count`` that there are.
  public subscript(pictures: Range<Int>) -> PictureTokens {
    PictureTokens(
      schedule: schedule, count: pictures.count,
      scales: zip(scales, schedule.sizes).map { tokens, size in
        Array(tokens[pictures.lowerBound * size.count..<pictures.upperBound * size.count])
      })
  }
}

extension PictureTokens {
  /// The pictures at the given places, in that order and as often.
  public func picking(_ pictures: [Int]) -> PictureTokens {
    PictureTokens(
      schedule: schedule, count: pictures.count,
      scales: zip(scales, schedule.sizes).map { tokens, size in
        pictures.flatMap { tokens[$0 * size.count..<($0 + 1) * size.count] }
      })
  }

  /// As tensors.
  public func pyramid(device: Device) throws(MVARError) -> TokenPyramid {
    try TokenPyramid(
      schedule: schedule,
      scales: zip(scales, schedule.sizes).map {
        Tensor.of($0, shape: [count, $1.count]).uploaded(to: device)
      })
  }
}
