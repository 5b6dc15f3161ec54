import Pictures

/// Reads the pictures of a data set and makes them squares; used by several threads at once.
struct PictureMaker: Sendable {
  let dataSet: PictureDataSet
  let recipe: PictureRecipe
  private let shards: [String: RandomAccessFile]

  init(_ dataSet: PictureDataSet, _ recipe: PictureRecipe) {
    self.dataSet = dataSet
    self.recipe = recipe
    var shards: [String: RandomAccessFile] = [:]
    for case .member(let shard, _, _, _) in dataSet.entries.lazy.map(\.location)
    where shards[shard] == nil {
      // What cannot be opened is told when its first picture is wanted.
      shards[shard] = try? RandomAccessFile(shard)
    }
    self.shards = shards
  }

  /// One picture, and whether it had to be enlarged.
  ///
  /// - Throws: Where the file cannot be read or is no picture.
  func square(_ index: Int, _ draws: inout Draws) throws -> (square: Picture, isEnlarged: Bool) {
    let entry = dataSet.entries[index]
    let name = dataSet.classNames.isEmpty ? nil : dataSet.classNames[entry.label]
    let flips = name.map { !recipe.unflippedClasses.contains($0) } ?? true
    return try recipe.square(
      bytes(entry.location), name: entry.location.name, flips: flips, &draws)
  }

  private func bytes(_ location: PictureDataSet.Location) throws -> [UInt8] {
    switch location {
    case .file(let path): return try readFile(path, atMost: PictureLimits().bytes)
    case .member(let shard, _, let offset, let count):
      return try (shards[shard] ?? RandomAccessFile(shard)).bytes(offset, count)
    }
  }
}
