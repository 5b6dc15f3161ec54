import Foundation
import ModelHub

/// Finds the files that names stand for, and fetches those that are not here.
struct ModelSource {
  let console: Console
  /// Whether to fetch without asking.
  let isConsenting: Bool

  /// A file, and what is known of it.
  struct Found {
    let path: String
    let known: KnownModel?
  }

  /// The files of some names, in their order.
  ///
  /// What is here is used as it is, without a look at the network. What is not is fetched after one
  /// question; where nobody can be asked, that is an error which says what to run.
  func find(_ texts: [String]) async throws -> [Found] {
    let names = try texts.map { ($0, try ModelName($0)) }
    if names.allSatisfy({ if case .file = $0.1 { true } else { false } }) {
      return texts.map { Found(path: $0, known: nil) }
    }
    let hub = ModelHub(try HubSettings())
    var missing: [Pull] = []
    for (text, name) in names {
      if let file = try await file(name, hub), hub.cache.path(of: file) == nil {
        missing.append(Pull(name: text, file: file))
      }
    }
    if !missing.isEmpty { try await fetch(missing, from: hub) }
    var found: [Found] = []
    for (text, name) in names {
      guard let file = try await file(name, hub) else {
        found.append(Found(path: text, known: nil))
        continue
      }
      guard let path = hub.cache.path(of: file) else {
        throw CommandError("\(text) was fetched and is gone; run `mvar pull \(text)` again")
      }
      var known: KnownModel?
      if case .known(let model) = name { known = model }
      found.append(Found(path: path, known: known))
    }
    return found
  }

  func find(_ text: String) async throws -> Found { try await find([text])[0] }

  /// The file of a hub that a name stands for; nil for a file here.
  private func file(_ name: ModelName, _ hub: ModelHub) async throws -> HubFile? {
    switch name {
    case .file: nil
    case .known(let model): model.file
    case .hub(let name): try await hub.checkpoint(name)
    }
  }

  private func fetch(_ pulls: [Pull], from hub: ModelHub) async throws {
    let names = pulls.map(\.name).joined(separator: " ")
    if !isConsenting, !hub.settings.isOffline {
      guard Question.canBeAsked else {
        throw CommandError(
          "\(pulls[0].name) is not here; run `mvar pull \(names)`, or add --yes to fetch it now")
      }
      var files: [String] = []
      for pull in pulls {
        let size = try await hub.size(of: pull.file).map { " (\(Quantity.bytes($0)))" }
        files.append("\(pull.file)\(size ?? "")")
      }
      let question =
        "mvar: \(names): not here yet. Fetch \(files.joined(separator: " and ")) from "
        + "\(hub.settings.endpoint)?"
      guard try await Question.ask(question) else {
        throw CommandError("\(pulls[0].name) is not here, and is not to be fetched")
      }
    }
    for pull in pulls { _ = try await PullRun(hub: hub, console: console).pull(pull.file) }
  }

  private struct Pull {
    let name: String
    let file: HubFile
  }
}

extension ModelHub {
  /// The file that a name means; where it names only a repository, the one model in it, here or there.
  ///
  /// - Throws: ``CommandError`` where there are several or none.
  func checkpoint(_ name: HubName) async throws -> HubFile {
    if let file = name.file { return file }
    let here = cache.entries().filter {
      $0.file.repository == name.repository && $0.file.revision == name.revision
    }
    if let path = CheckpointChoice(among: here.map(\.file.path)).model {
      return try HubFile(name.repository, path, revision: name.revision)
    }
    return try await listedCheckpoints(name).model
  }

  /// The one model of a repository as the hub lists it now, and a tokenizer beside it.
  ///
  /// - Throws: ``CommandError`` where there are several models or none.
  func listedCheckpoints(_ name: HubName) async throws -> (model: HubFile, tokenizer: HubFile?) {
    let listed = try await files(of: name.repository, revision: name.revision)
    let choice = CheckpointChoice(among: listed.map(\.path))
    guard let path = choice.model ?? (choice.models.isEmpty ? choice.tokenizer : nil) else {
      throw CommandError(
        choice.models.isEmpty
          ? "\(name.repository) has no .pth or .safetensors file"
          : "\(name.repository) has \(choice.models.count) models (\(choice.models.prefix(8).joined(separator: ", "))); "
            + "name one, such as \(name.repository)/\(choice.models[0])")
    }
    func file(_ path: String) throws -> HubFile {
      try HubFile(name.repository, path, revision: name.revision)
    }
    let beside = choice.tokenizer.flatMap { $0 == path ? nil : $0 }
    return (try file(path), try beside.map(file))
  }
}
