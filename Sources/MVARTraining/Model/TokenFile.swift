import CheckpointFormats
import Foundation
import MVAR

/// Tokens and labels in one safetensors file: what `mvar tokenize` writes, with `labels` beside it.
///
/// `tokens.0` … `tokens.K−1` are `[n · versions, n_k]` int64, all versions of a picture in a row;
/// `labels` `[n]` int64. The note `classes`, a JSON list, gives the labels their names.
public struct TokenFile: Sendable {
  public let tokens: PictureTokens
  public let labels: [Int]
  public let classNames: [String]?

  public init(tokens: PictureTokens, labels: [Int], classNames: [String]? = nil) {
    (self.tokens, self.labels, self.classNames) = (tokens, labels, classNames)
  }

  /// - Throws: `CheckpointFormatError`, `MVARError`, or ``TrainingError`` naming what is missing.
  public init(contentsOf path: String) throws {
    let file = try SafetensorsFile(path)
    guard let stored = file.tensors.first(where: { $0.name == "labels" }),
      stored.elementType == .int64, stored.shape.count == 1, let range = stored.contiguousBytes
    else {
      throw TrainingError(
        .data, "\(path) has no tensor labels, [n] int64, which tells the class of each picture")
    }
    tokens = try PictureTokens(contentsOf: path)
    let mapping = try MappedFile(path)
    let bytes = try mapping.bytes(at: range.offset, count: range.count)
    labels = withExtendedLifetime(mapping) {
      (0..<stored.elementCount).map {
        Int(bytes.loadUnaligned(fromByteOffset: $0 * 8, as: Int64.self))
      }
    }
    classNames = file.metadata["classes"].flatMap {
      try? JSONDecoder().decode([String].self, from: Data($0.utf8))
    }
    guard !labels.isEmpty, tokens.count % labels.count == 0 else {
      throw TrainingError(
        .data,
        "\(path) has tokens of \(tokens.count) pictures and \(labels.count) labels; "
          + "there must be as many of each, or as many versions of every picture")
    }
  }

  public func write(to path: String) throws {
    var notes = ["scales": tokens.schedule.description]
    if let classNames {
      notes["classes"] = String(decoding: try JSONEncoder().encode(classNames), as: UTF8.self)
    }
    let names = tokens.scales.indices.map { "tokens.\($0)" }
    let maps = zip(names, tokens.schedule.sizes).map {
      TensorDeclaration(name: $0, elementType: .int64, shape: [tokens.count, $1.count])
    }
    let labels = labels.map(Int64.init)
    try SafetensorsWriter.write(
      path,
      tensors: maps + [.init(name: "labels", elementType: .int64, shape: [labels.count])],
      metadata: notes
    ) { tensor, give in
      let elements = names.firstIndex(of: tensor.name).map { tokens.scales[$0] } ?? labels
      try elements.withUnsafeBytes { try give($0) }
    }
  }

  /// How many versions there are of each picture.
  public var versions: Int { tokens.count / labels.count }

  /// - Throws: ``TrainingError`` for a token outside the vocabulary.
  public func check(vocabulary: Int, _ path: String) throws(TrainingError) {
    for token in tokens.scales.joined() where !(0..<Int64(vocabulary)).contains(token) {
      throw TrainingError(
        .data,
        "\(path) has the token \(token), outside the tokenizer's 0...\(vocabulary - 1); "
          + "name the tokenizer that made it")
    }
  }

  /// Takes a share of the pictures out, spread evenly, in their first version.
  public func holdingOut(_ share: Double) -> (training: TokenFile, heldOut: TokenFile?) {
    let count = Int((Double(labels.count) * share).rounded())
    guard count > 0, count < labels.count else { return (self, nil) }
    let out = Set((0..<count).map { ($0 * 2 + 1) * labels.count / (2 * count) })
    let rest = labels.indices.filter { !out.contains($0) }
    let held = out.sorted()
    return (
      TokenFile(
        tokens: tokens.picking(
          rest.flatMap { picture in (0..<versions).map { picture * versions + $0 } }),
        labels: rest.map { labels[$0] }, classNames: classNames),
      TokenFile(
        tokens: tokens.picking(held.map { $0 * versions }), labels: held.map { labels[$0] },
        classNames: classNames)
    )
  }

  /// All in batches, the last one maybe smaller.
  public func batches(of size: Int) -> [TokenBatch] {
    let whole = TokenBatch(tokens: tokens, labels: labels)
    return stride(from: 0, to: labels.count, by: size).map {
      whole[$0..<min($0 + size, labels.count)]
    }
  }
}
