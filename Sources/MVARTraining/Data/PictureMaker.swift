import Pictures

/// Reads the pictures of a data set and makes them squares; used by several threads at once.
struct PictureMaker: Sendable {
  let dataSet: PictureDataSet
  let recipe: PictureRecipe
  private let shards: [String: RandomAccessFile]

  /// - Throws: ``TrainingError`` where more files would be open at once than the system allows.
  init(_ dataSet: PictureDataSet, _ recipe: PictureRecipe) throws(TrainingError) {
    self.dataSet = dataSet
    self.recipe = recipe
    var names: Set<String> = []
    for case .member(let shard, _, _, _) in dataSet.entries.lazy.map(\.location) {
      names.insert(shard)
    }
    OpenFiles.allow(names.count)
    var shards: [String: RandomAccessFile] = [:]
    for name in names { shards[name] = try Self.opened(name) }
    self.shards = shards
  }

  /// A shard; nil where it cannot be opened for a reason of its own, which is told when its first
  /// picture is wanted.
  private static func opened(_ shard: String) throws(TrainingError) -> RandomAccessFile? {
    do { return try RandomAccessFile(shard) } catch {
      if error.kind == .file { throw error }
      return nil
    }
  }

  /// One picture, and whether it had to be enlarged.
  ///
  /// - Throws: Where the file cannot be read or is no picture; ``TrainingError`` of kind `file` where
  ///   that is not the picture's fault.
  func square(_ index: Int, _ draws: inout Draws) throws -> (square: Picture, isEnlarged: Bool) {
    let entry = dataSet.entries[index]
    let name = dataSet.classNames.isEmpty ? nil : dataSet.classNames[entry.label]
    let flips = name.map { !recipe.unflippedClasses.contains($0) } ?? true
    return try recipe.square(
      bytes(entry.location), name: entry.location.name, flips: flips, &draws)
  }

  /// What is wrong with a picture that ``square(_:_:)`` could not make.
  ///
  /// - Throws: The error itself where it is not the picture's fault.
  static func fault(_ error: any Error) throws(TrainingError) -> String {
    if let error = error as? TrainingError, error.kind == .file { throw error }
    return "\(error)"
  }

  private func bytes(_ location: PictureDataSet.Location) throws -> [UInt8] {
    switch location {
    case .file(let path):
      do { return try readFile(path, atMost: PictureLimits().bytes) } catch {
        if error.kind == .tooManyOpenFiles { throw TrainingError(.file, error.description) }
        throw error
      }
    case .member(let shard, _, let offset, let count):
      return try (shards[shard] ?? RandomAccessFile(shard)).bytes(offset, count)
    }
  }
}
