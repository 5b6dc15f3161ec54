/// A checkpoint in several safetensors files, as its `….safetensors.index.json` lists them.
public struct SafetensorsIndex: Sendable {
  /// The index file's path.
  public let file: String
  /// The paths of the files that hold the tensors, sorted.
  public let shards: [String]
  /// All tensors that the index lists, shard by shard, in the order of their bytes.
  public let tensors: [StoredTensor]

  /// Reads the index and the headers of the files that it names.
  ///
  /// - Throws: ``CheckpointFormatError`` if the index or a shard cannot be read, breaks its format, or lacks a tensor that
  ///   the index says it has.
  public init(_ path: String) throws(CheckpointFormatError) {
    let places = try Self.places(path)
    let folder = Self.folder(of: path)
    var shards: [String] = []
    var tensors: [StoredTensor] = []
    for (name, keys) in places.sorted(by: { $0.key < $1.key }) {
      shards.append(folder + name)
      tensors += try Self.tensors(keys, inShard: folder + name, index: path)
    }
    self.file = path
    self.shards = shards
    self.tensors = tensors
  }

  private static let sizeLimit = 100_000_000

  /// The keys that each shard is to hold.
  private static func places(_ path: String) throws(CheckpointFormatError) -> [String: Set<String>]
  {
    let file = try InputFile(path)
    guard file.size <= sizeLimit else {
      throw .malformed(path, "\(file.size) bytes are too many for an index")
    }
    let bytes = try file.bytes(at: 0, count: file.size)
    let json: JSONValue
    do { json = try JSONReader.read(bytes) } catch {
      throw .malformed(path, "it is not valid JSON at byte \(error.position) (\(error.problem))")
    }
    guard case .object(let members) = json["weight_map"] else {
      throw CheckpointFormatError(
        .malformed, file: path, "this JSON has no weight_map",
        mend: "name a …safetensors.index.json or a checkpoint")
    }
    var places: [String: Set<String>] = [:]
    for member in members {
      guard case .string(let shard) = member.value, isPlainName(shard) else {
        throw .malformed(
          path, "weight_map has no file name in this folder for \(printable(member.key))")
      }
      places[shard, default: []].insert(member.key)
    }
    return places
  }

  /// Shards lie beside the index: a name that leads elsewhere is not one.
  private static func isPlainName(_ name: String) -> Bool {
    !name.isEmpty && name != "." && name != ".."
      && !name.utf8.contains { $0 == UInt8(ascii: "/") || $0 == 0 }
  }

  private static func tensors(
    _ keys: Set<String>, inShard path: String, index: String
  ) throws(CheckpointFormatError) -> [StoredTensor] {
    let shard: SafetensorsFile
    do { shard = try SafetensorsFile(path) } catch  where error.kind == .inputOutput {
      throw CheckpointFormatError(
        .missing, file: index, "its shard \(error.description)",
        mend: "put all shards beside the index")
    }
    let found = shard.tensors.filter { keys.contains($0.name) }
    if let missing = keys.subtracting(found.map(\.name)).sorted().first {
      throw CheckpointFormatError(
        .missing, file: path,
        "\(printable(missing)) is not in it, though \(printable(path: index)) says so",
        mend: "fetch index and shards again, together")
    }
    return found
  }

  private static func folder(of path: String) -> String {
    path.utf8.lastIndex(of: UInt8(ascii: "/")).map { String(path[...$0]) } ?? ""
  }
}
