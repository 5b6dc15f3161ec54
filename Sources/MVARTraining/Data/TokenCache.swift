import CheckpointFormats
import Foundation
import MVAR
import Pictures

/// What a cache of tokens holds and was made of; the file `cache.json`.
public struct TokenCacheDescription: Sendable, Hashable, Codable {
  /// Where the pictures were.
  public var data: String
  public var pictures: Int
  /// A hash of the pictures' names and labels.
  public var contents: String
  public var classNames: [String]
  /// As ``ScaleSchedule/init(parsing:)`` reads it.
  public var scales: String
  /// V
  public var vocabulary: Int
  /// SHA-256 of the tokenizer's file.
  public var tokenizer: String
  public var recipe: PictureRecipe
  public var seed: UInt64
  /// How many times each picture was augmented and tokenised.
  public var versions: Int
  /// The largest share of wrong codes in what a model reads of a picture; nil for none.
  public var wrongCodes: Double?
  /// Pictures a part.
  public var partSize: Int
  /// How many pictures were set apart from these for a cache beside this one; nil where nobody said.
  public var heldOut: Int?

  var wrongShare: Double { wrongCodes ?? 0 }

  /// Parts of one version.
  var partsPerVersion: Int { (pictures + partSize - 1) / partSize }
  var parts: Int { partsPerVersion * versions }

  /// The version that a part belongs to, and which pictures it was made of.
  func content(ofPart part: Int) -> (version: Int, pictures: Range<Int>) {
    let start = part % partsPerVersion * partSize
    return (part / partsPerVersion, start..<min(start + partSize, pictures))
  }

  static func partName(_ part: Int) -> String {
    let digits = String(part)
    return "part-\(String(repeating: "0", count: max(5 - digits.count, 0)))\(digits).safetensors"
  }

  /// The names of the settings that differ, with both values.
  func differences(from other: TokenCacheDescription) -> [String] {
    var differences: [String] = []
    func compare<Value: Equatable>(_ name: String, _ path: KeyPath<Self, Value>) {
      if self[keyPath: path] != other[keyPath: path] {
        differences.append("\(name) is \(self[keyPath: path]) and was \(other[keyPath: path])")
      }
    }
    compare("the number of pictures", \.pictures)
    compare("the digest of their names and labels", \.contents)
    compare("the number of classes", \.classNames.count)
    compare("scales", \.scales)
    compare("the tokenizer's digest", \.tokenizer)
    compare("seed", \.seed)
    compare("the number of versions", \.versions)
    compare("the share of wrong codes", \.wrongShare)
    compare("the size of a part", \.partSize)
    if recipe != other.recipe { differences.append("the augmentation differs") }
    return differences
  }
}

extension PictureDataSet {
  /// A hash of every picture's name below the data set's root, and its label.
  var contentDigest: String {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    func add(_ bytes: some Sequence<UInt8>) {
      for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    }
    for entry in entries {
      add(relativeName(entry).utf8)
      add("\n\(entry.label)\n".utf8)
    }
    return String(hash, radix: 16)
  }
}

/// The tokens of a data set, made once: a folder with `cache.json` and parts in safetensors files.
///
/// Each part has `tokens.k` `[n, n_k]` (int16, or int32 for more than 32768 codes), `labels` `[n]` int32
/// and `pictures` `[n]` int64, the places of its pictures in the data set. Where a model is to read some
/// wrong codes, `standing.k` `[n, n_k]` are those that it reads, and `tokens.k` what is right after them.
public struct TokenCache: Sendable {
  public let path: String
  public let description: TokenCacheDescription
  public let schedule: ScaleSchedule
  /// The label of each picture that could be read.
  public let labels: [Int]

  private let parts: [Part]
  /// The place of version v of readable picture i at i · versions + v.
  private let places: [Place]

  struct Place: Sendable {
    let part: Int32
    let row: Int32
  }

  /// Opens a finished cache.
  ///
  /// - Throws: ``TrainingError`` where it is not one or not finished, or what reading throws.
  public init(_ path: String) throws {
    self.path = path
    let description = try Self.description(in: path)
    let schedule = try ScaleSchedule(parsing: description.scales)
    var parts: [Part] = []
    for index in 0..<description.parts {
      let file = "\(path)/\(TokenCacheDescription.partName(index))"
      guard FileManager.default.fileExists(atPath: file) else {
        throw TrainingError(
          .data,
          "\(path): \(index) of \(description.parts) parts of this cache are there; "
            + "make it with the same settings again, which goes on where it stopped")
      }
      parts.append(try Part(file, schedule: schedule, isSpoilt: description.wrongShare > 0))
    }
    var places = [Place?](repeating: nil, count: description.pictures * description.versions)
    var labels = [Int](repeating: 0, count: description.pictures)
    for (index, part) in parts.enumerated() {
      let version = description.content(ofPart: index).version
      for (row, picture) in part.pictures.enumerated() where labels.indices.contains(picture) {
        places[picture * description.versions + version] = Place(
          part: Int32(index), row: Int32(row))
        labels[picture] = part.labels[row]
      }
    }
    let whole = labels.indices.filter { picture in
      (0..<description.versions).allSatisfy { places[picture * description.versions + $0] != nil }
    }
    self.places = whole.flatMap { picture in
      (0..<description.versions).map { places[picture * description.versions + $0]! }
    }
    self.labels = whole.map { labels[$0] }
    self.description = description
    self.schedule = schedule
    self.parts = parts
    if whole.isEmpty {
      throw TrainingError(.data, "\(path): this cache has no tokens; make it again")
    }
  }

  static func description(in path: String) throws -> TokenCacheDescription {
    let file = "\(path)/cache.json"
    guard let data = FileManager.default.contents(atPath: file) else {
      throw TrainingError(.data, "\(file) cannot be read; name a folder that holds a token cache")
    }
    do {
      return try JSONDecoder().decode(TokenCacheDescription.self, from: data)
    } catch {
      throw TrainingError(.data, "\(file) is not that of a token cache; make the cache again")
    }
  }

  /// Pictures that could be read.
  public var count: Int { labels.count }
  public var classNames: [String] { description.classNames }

  /// Which of a picture's tokens: what is right, or what stands in the coarser scales for it to follow.
  enum Reading { case right, standing }

  /// Whether a model is to read tokens that are not all right.
  var isSpoilt: Bool { description.wrongShare > 0 }

  /// The tokens of some pictures, each in one of its versions.
  func tokens(_ pictures: [Int], versions: [Int], _ reading: Reading = .right) throws
    -> PictureTokens
  {
    let chosen = zip(pictures, versions).map { places[$0 * description.versions + $1] }
    let scales = try schedule.sizes.indices.map { scale in
      try chosen.flatMap { place in
        try parts[Int(place.part)].tokens(scale: scale, row: Int(place.row), reading)
      }
    }
    return PictureTokens(schedule: schedule, count: pictures.count, scales: scales)
  }
}

extension TokenCache {
  /// One file of the cache, read through a mapping.
  struct Part: Sendable {
    let labels: [Int]
    let pictures: [Int]
    private let mapping: MappedFile
    private let scales: [StoredTensor]
    private let standing: [StoredTensor]

    init(_ path: String, schedule: ScaleSchedule, isSpoilt: Bool) throws {
      let file = try SafetensorsFile(path)
      let byName = Dictionary(uniqueKeysWithValues: file.tensors.map { ($0.name, $0) })
      let scales = schedule.sizes.indices.compactMap { byName["tokens.\($0)"] }
      let standing = schedule.sizes.indices.compactMap { byName["standing.\($0)"] }
      guard let labels = byName["labels"], let pictures = byName["pictures"],
        labels.elementType == .int32, pictures.elementType == .int64,
        pictures.shape == labels.shape, labels.shape.count == 1,
        scales.map(\.shape) == schedule.sizes.map({ [labels.shape[0], $0.count] }),
        standing.map(\.shape) == (isSpoilt ? scales.map(\.shape) : []),
        (scales + standing).allSatisfy({ $0.elementType == .int16 || $0.elementType == .int32 })
      else {
        throw TrainingError(
          .data, "\(path) is no part of a token cache of the scales \(schedule); make it again")
      }
      mapping = try MappedFile(path)
      (self.scales, self.standing) = (scales, standing)
      self.labels = try Self.integers(labels, 0..<labels.elementCount, mapping).map(Int.init)
      self.pictures = try Self.integers(pictures, 0..<pictures.elementCount, mapping).map(Int.init)
    }

    /// `[n_k]`
    func tokens(scale: Int, row: Int, _ reading: Reading) throws -> [Int64] {
      let tensor = (reading == .right ? scales : standing)[scale]
      let count = tensor.shape[1]
      return try Self.integers(tensor, row * count..<(row + 1) * count, mapping)
    }

    private static func integers(_ tensor: StoredTensor, _ range: Range<Int>, _ mapping: MappedFile)
      throws -> [Int64]
    {
      let size = tensor.elementType.byteCount
      let start = tensor.contiguousBytes!.offset + range.lowerBound * size
      let bytes = try mapping.bytes(at: start, count: range.count * size)
      return (0..<range.count).map { index in
        switch size {
        case 2: Int64(bytes.loadUnaligned(fromByteOffset: 2 * index, as: Int16.self))
        case 4: Int64(bytes.loadUnaligned(fromByteOffset: 4 * index, as: Int32.self))
        default: bytes.loadUnaligned(fromByteOffset: 8 * index, as: Int64.self)
        }
      }
    }
  }
}
