import CheckpointFormats
import Torch

/// A file of tensors: `.pth`, `.safetensors`, or the index of several safetensors files.
///
/// Opening reads the table of contents only.
public struct Checkpoint {
  /// What a set of tensors is.
  public enum Role: String, Sendable, CaseIterable {
    case transformer = "model"
    case tokenizer = "tokenizer"

    /// Names that all of this role have and none of the other.
    var signature: Set<String> {
      switch self {
      case .transformer: ["word_embed.weight", "class_emb.weight", "head.weight"]
      case .tokenizer: ["quantize.embedding.weight", "decoder.conv_in.weight"]
      }
    }
  }

  /// The file's path.
  public let file: String
  /// All tensors with their full names.
  public let tensors: [StoredTensor]
  /// The tensors of each role that the file holds, under their published names, with the path of
  /// the dictionary that they were found in.
  public let parts: [Role: (path: String, tensors: [StoredTensor])]
  /// What a safetensors file notes about itself; empty for other files.
  public let notes: [String: String]

  /// - Throws: ``CheckpointFormatError`` or ``TorchError`` where the file cannot be read.
  public init(_ path: String) throws {
    file = path
    var groups: [(path: String, tensors: [StoredTensor])] = []
    var notes: [String: String] = [:]
    switch try CheckpointFormat(ofFile: path) {
    case .pyTorch, .oldPyTorch:
      let archive = try Self.archive(path)
      tensors = archive.tensors
      for group in archive.groups { groups.append((group, try archive.tensors(in: group))) }
    case .safetensors:
      let file = try SafetensorsFile(path)
      (tensors, notes) = (file.tensors, file.metadata)
    case .safetensorsIndex:
      tensors = try SafetensorsIndex(path).tensors
    }
    if groups.isEmpty { groups = [("", tensors)] }
    parts = Self.parts(in: groups)
    self.notes = notes
  }

  private static func archive(_ path: String) throws -> PyTorchArchive {
    if try CheckpointFormat(ofFile: path) == .oldPyTorch {
      return try PyTorchArchive(oldFile: path)
    }
    try LibTorch.load()
    do {
      return try PyTorchArchive(ZipRecords(path), file: path)
    } catch let error as TorchError {
      throw MVARError(
        .checkpoint,
        "\(path): the zip archive cannot be read (\(error.message.prefix(160))); "
          + "it is damaged or incomplete, fetch it again")
    }
  }

  /// A set of tensors is known by the names in it, whatever dictionary it lies in.
  private static func parts(in groups: [(path: String, tensors: [StoredTensor])]) -> [Role: (
    path: String, tensors: [StoredTensor]
  )] {
    var parts: [Role: (path: String, tensors: [StoredTensor])] = [:]
    for role in Role.allCases {
      for group in groups where parts[role] == nil {
        for prefix in ["", "module."] {
          let tensors = Self.tensors(group.tensors, under: prefix)
          if role.signature.isSubset(of: tensors.map(\.name)) {
            let path = [group.path, String(prefix.dropLast())].filter { !$0.isEmpty }
            parts[role] = (path.joined(separator: "."), tensors)
          }
        }
      }
    }
    return parts
  }

  /// Distributed training puts "module." before every name.
  private static func tensors(_ tensors: [StoredTensor], under prefix: String) -> [StoredTensor] {
    prefix.isEmpty
      ? tensors
      : tensors.filter { $0.name.hasPrefix(prefix) }
        .map { $0.renamed(String($0.name.dropFirst(prefix.count))) }
  }

  /// The parameters of one role.
  ///
  /// - Throws: ``MVARError`` if the file holds none.
  public func source(_ role: Role) throws(MVARError) -> CheckpointSource {
    guard let part = parts[role] else {
      let other = parts.keys.first.map { "it is a \($0.rawValue)" } ?? Self.contents(tensors)
      throw MVARError(
        .checkpoint, "\(file): no \(role.rawValue) in this checkpoint (\(other)); name another file"
      )
    }
    return CheckpointSource(file: file, tensors: part.tensors)
  }

  private static func contents(_ tensors: [StoredTensor]) -> String {
    guard let first = tensors.first else { return "it has no tensors" }
    return "it has \(tensors.count) tensors such as \(first.name)"
  }
}
