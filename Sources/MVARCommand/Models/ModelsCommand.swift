import ArgumentParser
import ModelHub

struct ModelsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "models",
    abstract: "Lists the models that are known, and those that are here.",
    discussion: """
        mvar models                       known names, and what is here
        mvar models m-var-d16             that model's files and licence, as the server tells them
        mvar models OliverRen/M-VAR       any repository's checkpoints, with their sizes

      Without a name nothing is asked of any server.
      """)

  @Argument(help: "A known name or a repository, to ask the server about.")
  var name: String?

  @Flag(help: "Write records instead of a table.")
  var json = false

  func run() async throws {
    let hub = ModelHub(try HubSettings())
    let console = Console(isQuiet: false)
    if let name {
      let answer = try await ask(name, hub)
      try console.record(json ? Record.text(answer) : answer.text)
    } else {
      let all = LocalModels(hub)
      try console.record(json ? Record.text(all) : all.text)
    }
  }

  private func ask(_ text: String, _ hub: ModelHub) async throws -> RemoteModels {
    let repository: HubRepository
    var revision = HubName.mainRevision
    var only: String?
    if let known = ModelCatalogue.named(text) {
      (repository, only) = (known.file.repository, known.file.path)
    } else if text.contains("/") {
      let name = try HubName(parsing: text)
      (repository, revision, only) = (name.repository, name.revision, name.file?.path)
    } else {
      throw CommandError("\(text) is no known model; `mvar models` lists those that are")
    }
    let listed = try await hub.files(of: repository, revision: revision)
    let licence = try await hub.licence(of: repository)
    let endings = [".pth", ".safetensors", ".safetensors.index.json"]
    let shown = listed.filter { file in
      only.map { file.path == $0 } ?? endings.contains(where: file.path.hasSuffix)
    }
    if let only, shown.isEmpty {
      throw CommandError(
        "\(repository) has no file \(only); `mvar models \(repository)` lists them")
    }
    return RemoteModels(
      repository: "\(repository)", licence: licence,
      files: try shown.map { file in
        let name = try HubFile(repository, file.path, revision: revision)
        return .init(
          file: name.description, bytes: file.size, path: hub.cache.path(of: name))
      })
  }
}

/// What a server tells about a repository.
private struct RemoteModels: Encodable {
  struct File: Encodable {
    let file: String
    let bytes: Int
    /// Nil if it is not here.
    let path: String?
  }

  let repository: String
  let licence: String?
  let files: [File]

  var text: String {
    let heading = "\(repository), licence: \(licence ?? "none named")"
    let rows = files.map { [$0.file, Quantity.bytes($0.bytes), $0.path == nil ? "" : "here"] }
    return ([heading] + TextTable.lines(rows).map { "  \($0)" }).joined(separator: "\n")
  }
}

/// What is known and what is here.
private struct LocalModels: Encodable {
  struct Model: Encodable {
    /// Nil for files that have no short name.
    let name: String?
    let file: String
    let summary: String?
    let licence: String?
    /// Nil if it is not here.
    let path: String?
    let bytes: Int?
  }

  let cache: String
  let models: [Model]
  /// Bytes of files that are not whole yet, by repository.
  let partialBytes: [String: Int]

  init(_ hub: ModelHub) {
    cache = hub.cache.folder
    let here = hub.cache.entries()
    let known = ModelCatalogue.all.map { model in
      let entry = here.first { $0.file == model.file }
      return Model(
        name: model.name, file: model.file.description, summary: model.summary,
        licence: model.licence, path: entry?.path, bytes: entry?.size)
    }
    let names = Set(ModelCatalogue.all.map(\.file))
    let others = here.filter { entry in
      !names.contains(entry.file)
        && [".pth", ".safetensors"].contains(where: entry.file.path.hasSuffix)
    }
    models =
      known
      + others.map {
        Model(
          name: nil, file: $0.file.description, summary: nil, licence: nil, path: $0.path,
          bytes: $0.size)
      }
    let repositories = Set(ModelCatalogue.all.map(\.file.repository) + here.map(\.file.repository))
    partialBytes = repositories.reduce(into: [:]) { found, repository in
      let bytes = hub.cache.partialBytes(of: repository)
      if bytes > 0 { found["\(repository)"] = bytes }
    }
  }

  var text: String {
    let known = models.filter { $0.name != nil }
    let rows =
      [["name", "what it is", "licence", "here"]]
      + known.map {
        [$0.name!, $0.summary!, $0.licence ?? "none named", $0.bytes.map(Quantity.bytes) ?? "—"]
      }
    var lines = TextTable.lines(rows)
    let others = models.filter { $0.name == nil }
    if !others.isEmpty {
      lines += ["", "other checkpoints here"]
      lines += TextTable.lines(others.map { [$0.file, Quantity.bytes($0.bytes!)] }).map {
        "  \($0)"
      }
    }
    for (repository, bytes) in partialBytes.sorted(by: { $0.key < $1.key }) {
      lines.append("\(repository): \(Quantity.bytes(bytes)) of files that are not whole yet")
    }
    return (lines + ["", "kept in \(cache); `mvar pull NAME` fetches one"]).joined(separator: "\n")
  }
}

/// Columns of text.
private enum TextTable {
  /// Rows of one length, each column as wide as its longest cell.
  static func lines(_ rows: [[String]]) -> [String] {
    guard !rows.isEmpty else { return [] }
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max()! }
    return rows.map { row in
      let cells = zip(row, widths).map { cell, width in
        cell + String(repeating: " ", count: width - cell.count)
      }
      let line = cells.joined(separator: "  ")
      return String(line.reversed().drop { $0 == " " }.reversed())
    }
  }
}
