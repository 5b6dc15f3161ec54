import Foundation

extension ModelHub {
  /// Brings a checkpoint here: of the index of a sharded one, the shards too.
  ///
  /// - Returns: The file that was named, and then its shards.
  /// - Throws: As ``pull(_:report:)``, and ``HubError`` for an index that lists no files beside it.
  public func pullCheckpoint(
    _ file: HubFile, report: @escaping @Sendable (HubFile, Event) -> Void = { _, _ in }
  ) async throws -> [Pulled] {
    let first = try await pull(file) { report(file, $0) }
    guard file.path.hasSuffix(".index.json") else { return [first] }
    var all = [first]
    for shard in try shards(first) {
      all.append(try await pull(shard) { report(shard, $0) })
    }
    return all
  }

  private func shards(_ index: Pulled) throws(HubError) -> [HubFile] {
    struct Index: Decodable {
      let weight_map: [String: String]
    }
    guard let data = FileManager.default.contents(atPath: index.path),
      let read = try? JSONDecoder().decode(Index.self, from: data)
    else {
      throw HubError(.server, "\(index.file) is no index of a sharded checkpoint")
    }
    var shards: [HubFile] = []
    for name in Set(read.weight_map.values).sorted() {
      guard !name.contains("/") else {
        throw HubError(.server, "\(index.file) lists \"\(name)\", which does not lie beside it")
      }
      shards.append(try index.file.neighbour(name))
    }
    return shards
  }
}
